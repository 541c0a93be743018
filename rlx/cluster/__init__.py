"""Clusters on AWS and on hosts: the short file, Ray's launcher file, and the way back to nothing.

By verb, and what all of them stand on:

    (the file)   spec, load           what a person decides, checked, each problem with its place
    check        check, quotas, prices, instance_types, address, boundary (AWS); on_premise (hosts)
    prepare      prepare, account     security group, key, role, token, once per cluster
    render       launcher, hard_end, versions
    --dry-run    plan, plan_rates, plan_cost, capacity
    up           remnants (ends what a lost head left), up (starts, waits for every node)
    submit, logs, stop, status, fetch, dashboard      jobs, status, fetch, dashboard
    down, leftovers      down, leftovers (AWS); on_premise (hosts)

    names        what everything is called      machines   which machines there are, and the head
    ssh          commands, tunnels, copies      api        what the head's Ray tells, and its Jobs API
    aws          the one door to AWS            errors     each with what, where, what next
"""
