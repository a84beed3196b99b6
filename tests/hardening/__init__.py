"""What streams/faust_hardening replaces, each with the scenario in which the stock part fails."""
