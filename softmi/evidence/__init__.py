"""Results, the ledger of claims, and how they are shown; not part of the wheel."""
