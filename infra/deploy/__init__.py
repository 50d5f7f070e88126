"""Ways to run it beside `./dev`: an image, Compose on one machine, Kubernetes.

`Dockerfile` and `compose.yaml` are for Docker; `kubernetes/` is for kustomize, with Strimzi,
k8ssandra, KEDA and the operator of Prometheus. `docs/deploy.md` says how, and what was tried.

`python -m infra.deploy` rewrites what is made of other files: `requirements.lock`, the part of the
project's lock that servers need, and `kubernetes/rules.yaml`, the alerts as the operator takes
them.
"""
