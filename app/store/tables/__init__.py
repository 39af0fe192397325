"""All tables, by subject. Knows columns and constraints; asks no questions (the modules of app.store do)."""

from app.store.tables.base import Table
from app.store.tables.corpus import Document, Policy, Project, Summary
from app.store.tables.labeling import (
    Batch,
    BatchLabeler,
    Comparison,
    Confirmation,
    Flag,
    Guideline,
    Note,
    Preference,
    Qualification,
    QueuePlace,
    Rating,
    Showing,
    Skip,
    Slot,
    Tally,
    Verdict,
)
from app.store.tables.people import ApiToken, AuditEvent, Invitation, Labeler, SignIn
from app.store.tables.training import Checkpoint, Export, MetricPoint, Recipe, Round, Run

__all__ = [
    "ApiToken",
    "AuditEvent",
    "Batch",
    "BatchLabeler",
    "Checkpoint",
    "Comparison",
    "Confirmation",
    "Document",
    "Export",
    "Flag",
    "Guideline",
    "Invitation",
    "Labeler",
    "MetricPoint",
    "Note",
    "Policy",
    "Preference",
    "Project",
    "Qualification",
    "QueuePlace",
    "Rating",
    "Recipe",
    "Round",
    "Run",
    "Showing",
    "SignIn",
    "Skip",
    "Slot",
    "Summary",
    "Table",
    "Tally",
    "Verdict",
]
