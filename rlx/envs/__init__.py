"""Environments: what an id means, which there are, and N of them behind one interface.

`resolve_env(id, overrides) -> EnvSpec`, `make_vector_env(spec, num_envs, seed) -> VectorEnv`,
`describe_env(spec) -> EnvInfo`, `check_env(id)`, `list_env_ids()`. Importing this package imports nothing
else, not even numpy: names are loaded when used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rlx.envs.errors import EnvError
    from rlx.envs.ids import Family, env_family, list_env_ids
    from rlx.envs.registry import check_env, nearest_env_ids
    from rlx.envs.spec import EnvSpec, not_applicable, resolve_env
    from rlx.envs.vector import EnvInfo, EnvStep, VectorEnv, describe_env, make_vector_env

__all__ = [
    "EnvError",
    "EnvInfo",
    "EnvSpec",
    "EnvStep",
    "Family",
    "VectorEnv",
    "check_env",
    "describe_env",
    "env_family",
    "list_env_ids",
    "make_vector_env",
    "nearest_env_ids",
    "not_applicable",
    "resolve_env",
]

_MODULES = {
    "rlx.envs.errors": ("EnvError",),
    "rlx.envs.ids": ("Family", "env_family", "list_env_ids"),
    "rlx.envs.registry": ("check_env", "nearest_env_ids"),
    "rlx.envs.spec": ("EnvSpec", "not_applicable", "resolve_env"),
    "rlx.envs.vector": ("EnvInfo", "EnvStep", "VectorEnv", "describe_env", "make_vector_env"),
}


def __getattr__(name: str) -> Any:
    for module, names in _MODULES.items():
        if name in names:
            return getattr(importlib.import_module(module), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
