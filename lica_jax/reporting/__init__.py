"""What runs show, side by side: statistics, figures, tables, and one page with all of them."""

from lica_jax.reporting.report import Report, report

__all__ = ["Report", "report"]
