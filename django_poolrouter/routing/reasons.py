"""The reasons that decisions give.  Each rule for reads has one."""

ALWAYS_PRIMARY = "ALWAYS_PRIMARY names the model"
SESSION = "the model holds sessions, which ALWAYS_PRIMARY has by default"
PACKAGE = "the model is of an app that ALWAYS_PRIMARY has by default"
HISTORICAL = "the model is one of a migration"
GENERIC = "a generic relation, whose manager would write there too"
USING_PRIMARY = "using_primary"
NO_REPLICAS = "the cluster has no replicas"
USING_REPLICA = "using_replica"
TRANSACTION = "inside a transaction of the cluster"
UNSAFE = "the request is not safe: a POST, for example (UNSAFE_METHODS)"
WROTE = "wrote in this scope"
PINNED = "pinned after a write"
NOT_REACHED = "no replica has the user's writes yet"
FOLLOWED = "to see the user's writes"
NONE_QUALIFIES = "no replica qualifies"
BALANCED = "balanced over the replicas"
NOT_LISTED = "the databases of the running test do not list the replica"

READ = (
    ALWAYS_PRIMARY,
    SESSION,
    PACKAGE,
    HISTORICAL,
    GENERIC,
    USING_PRIMARY,
    NO_REPLICAS,
    USING_REPLICA,
    TRANSACTION,
    UNSAFE,
    WROTE,
    PINNED,
    NOT_REACHED,
    FOLLOWED,
    NONE_QUALIFIES,
    BALANCED,
)
"""The rules for reads, in their order.  The first one that holds decides."""

LOST = "the chosen replica failed"
LAGS = "the chosen replica lags"
DRAINED = "the chosen replica is drained"
CONFLICT = "replication cancelled it on the chosen replica"

BLOCK = "inside a transaction that began on this alias"

WRITE = "writes go to the primary"
WRITE_OF_A_COPY = "writes go to the primary; the object was read from a replica"
