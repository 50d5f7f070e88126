"""What an operator looks at, as code: the dashboard, rules and alerts, and Prometheus' settings.

`rows` says what is shown, as plain data (`panels`); `grafana` makes `diffusion.json` of it, which
is what Grafana imports. `rules.yml` has recordings and alerts, `rules_test.yml` what `promtool test
rules` holds them to, `prometheus.yml` the settings of a Prometheus that takes its rules from here
and its targets from `diffusion targets`.

`python -m infra.dashboards` rewrites `diffusion.json`. Only that needs the package that builds it.
"""
