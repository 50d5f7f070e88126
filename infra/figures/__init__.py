"""What the processes count, as figures for a person: of `diffusion top` and of the API's page.

    targets    where the processes are: read from the files that Prometheus reads
    scrape     asks each of them for /metrics
    counting   what two looks say together: rates, quantiles, greatest values
    figures    the figures themselves, named and grouped as on the dashboard

`counting` and `figures` are pure. Nothing is kept but the last few looks: for yesterday's numbers,
and for alerts, there is Prometheus.
"""
