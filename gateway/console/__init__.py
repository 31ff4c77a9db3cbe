"""The console: pages for a browser about live and past calls, alerts, trunks and workers (docs/console.md)."""
