"""A row an image: image_feature in place of region_feature, which had a row for each region in a partition of its own.

The indexes over embeddings go with the old table; `vpmsearch.store.postgres.upgrade` has them built again.
"""

from alembic import op

revision = "server_0003"
down_revision = "server_0002"
branch_labels = None
depends_on = None

# The drop locks one table after the other, and so does a search of an older client. If each has what the other waits
# for, the server ends one of them, and an error here would undo the whole copy. So the drop alone is undone and tried
# again.
_DROP = """
DO $$
DECLARE
    patience integer := 500;  -- milliseconds; searches that come meanwhile wait too
BEGIN
    LOOP
        PERFORM set_config('lock_timeout', patience::text, true);
        BEGIN
            DROP TABLE region_feature;
            RETURN;
        EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
            PERFORM pg_sleep(0.2);
            patience := least(2 * patience, 60000);
        END;
    END LOOP;
END $$
"""

# Whoever could read or write the old table can do so with the new one, and the owner stays, whoever upgrades.
_RIGHTS = """
DO $$
DECLARE
    given record;
BEGIN
    FOR given IN
        SELECT CASE WHEN grantee = 0 THEN 'PUBLIC' ELSE grantee::regrole::text END AS role, privilege_type AS right,
            CASE WHEN is_grantable THEN 'WITH GRANT OPTION' ELSE '' END AS passing
        FROM pg_class, aclexplode(relacl) WHERE pg_class.oid = 'region_feature'::regclass AND grantee <> relowner
    LOOP
        EXECUTE format('GRANT %s ON image_feature TO %s %s', given.right, given.role, given.passing);
    END LOOP;
    EXECUTE format('ALTER TABLE image_feature OWNER TO %s',
        (SELECT relowner::regrole FROM pg_class WHERE oid = 'region_feature'::regclass));
END $$
"""

_TYPES = {"float32": "vector", "float16": "halfvec"}


def upgrade() -> None:
    """Change the tables as they were then; never edited once released. A new index has no model yet, nor features."""
    model = op.get_bind().exec_driver_sql(
        "SELECT regions_high * regions_wide, embedding_dim, embedding_dtype FROM model"
    )
    for p, d, dtype in model.all():
        regions = range(p)
        kind = f"{_TYPES[dtype]}({d})"
        columns = [f"visibility_{r} real" for r in regions] + [f"embedding_{r} {kind}" for r in regions]
        op.execute(
            "CREATE TABLE image_feature (image_id bigint PRIMARY KEY REFERENCES image (id) ON DELETE CASCADE, "
            f"{', '.join(columns)}) WITH (toast_tuple_target = 8160)"
        )
        values = [f"f{r}.visibility" for r in regions] + [f"f{r}.embedding" for r in regions]
        joins = [f"LEFT JOIN region_feature f{r} ON f{r}.image_id = image.id AND f{r}.region = {r}" for r in regions]
        # By their key the server joins images in order, and holds none of them.
        op.execute(
            f"INSERT INTO image_feature SELECT image.id, {', '.join(values)} FROM image {' '.join(joins)} "
            "ORDER BY image.id"
        )
        op.execute(_RIGHTS)
        # Nobody takes lists for approximate before there are indexes again; ivfflat stands for equal embeddings.
        op.execute("UPDATE model SET built = CASE WHEN built = 'ivfflat' THEN built ELSE '' END, version = version + 1")
    op.execute(_DROP)


def downgrade() -> None:
    """Indexes are not taken back: restore the server's own backup."""
    raise NotImplementedError("restore the server's backup")
