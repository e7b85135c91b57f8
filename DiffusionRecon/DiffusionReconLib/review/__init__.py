"""Findings, verdicts, the banner and reports."""
