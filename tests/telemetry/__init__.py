"""What is deployed beside a program: the alerts and the dashboard, tried on Prometheus itself."""
