"""Measures Podium beside other gateways; see bench/README.md."""
