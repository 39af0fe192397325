"""The closed vocabularies of Hone: roles, kinds, states, splits. One spelling for tables, code, pages and exports.

Knows which words exist and what they mean. Knows nothing of rows, pages or who may move from one state to another.
"""

from enum import StrEnum


class Role(StrEnum):
    """What an account may do. A role that may see policies is never given a slot (invariant 3)."""

    LABELER = "labeler"
    RESEARCHER = "researcher"
    ADMIN = "admin"


class LabelerKind(StrEnum):
    """Who stands behind the answers. Simulated labelers are left out of everything unless asked for by name."""

    HUMAN = "human"
    SIMULATED = "simulated"


class LinkPurpose(StrEnum):
    """Why a one-time link was made."""

    FIRST = "first"
    INVITE = "invite"
    RESET = "reset"


class Split(StrEnum):
    """Where a document belongs, for ever (invariant 7)."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


class PolicyKind(StrEnum):
    """What writes the summaries of a policy."""

    REF = "ref"
    CHECKPOINT = "checkpoint"
    BEST_OF_N = "best_of_n"
    FEW_SHOT = "few_shot"
    IMPORTED = "imported"


class CheckpointKind(StrEnum):
    """What a directory of weights is."""

    BASE = "base"
    POLICY = "policy"
    REWARD = "reward"
    VALUE = "value"


class BatchKind(StrEnum):
    """What a batch asks for: a choice between two summaries, or a score for one."""

    COMPARE = "compare"
    RATE = "rate"


class BatchPurpose(StrEnum):
    """Why a batch is there. Gold and qualification batches stand for ever: each labeler meets their pairs once."""

    ORDINARY = "ordinary"
    GOLD = "gold"
    QUALIFICATION = "qualification"


class ComparisonKind(StrEnum):
    """Why a comparison is in the queue. Labelers cannot tell them apart."""

    ORDINARY = "ordinary"
    SHARED = "shared"
    GOLD = "gold"
    SENTINEL = "sentinel"
    CALIBRATION = "calibration"
    QUALIFICATION = "qualification"


class SlotState(StrEnum):
    """The life of one opinion still needed."""

    OPEN = "open"
    LEASED = "leased"
    DONE = "done"
    VOID = "void"


class SkipReason(StrEnum):
    """Why a labeler passed a pair on."""

    UNREADABLE = "unreadable"
    OFFENSIVE = "offensive"
    NOT_A_SUMMARY = "not_a_summary"
    KNOW_THE_AUTHOR = "know_the_author"
    OTHER = "other"


class FlagReason(StrEnum):
    """What a labeler wants the researchers to look at. A flag changes nothing in the queue."""

    QUESTION = "question"
    CUT_OFF = "cut_off"
    PERSONAL_DATA = "personal_data"
    IDENTICAL = "identical"
    OTHER = "other"


class RoundState(StrEnum):
    """The life of one turn of the loop."""

    ACTIVE = "active"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Decided(StrEnum):
    """What a decision on a policy came to: it writes the next pairs, it waits for an admin, the one before is back."""

    PROMOTED = "promoted"
    WAITS = "waits"
    ROLLED_BACK = "rolled_back"


class Stage(StrEnum):
    """What a run executes. `label` is people's work: its run waits for their answers and no worker claims it."""

    IMPORT = "import"
    SFT = "sft"
    SAMPLE = "sample"
    LABEL = "label"
    REWARD = "reward"
    PPO = "ppo"
    EVALUATE = "evaluate"
    EXPORT = "export"


class RunState(StrEnum):
    """The life of a run. `pending` waits for the run before it, `waiting` for people, `queued` for a worker."""

    PENDING = "pending"
    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


UNFINISHED = (RunState.PENDING, RunState.QUEUED, RunState.RUNNING, RunState.WAITING)


class Trouble(StrEnum):
    """Why a run could not do what was asked: `passing` may well succeed later, `lasting` fails again each time."""

    PASSING = "passing"
    LASTING = "lasting"


class Queue(StrEnum):
    """Where a run may execute: `gpu` work loads models, `cpu` work never does."""

    GPU = "gpu"
    CPU = "cpu"


QUEUE_OF = {
    Stage.IMPORT: Queue.CPU,
    Stage.EXPORT: Queue.CPU,
    Stage.SFT: Queue.GPU,
    Stage.SAMPLE: Queue.GPU,
    Stage.REWARD: Queue.GPU,
    Stage.PPO: Queue.GPU,
    Stage.EVALUATE: Queue.GPU,
}
