"""The job by DuckDB, in the format that is named: lines or parquet.

Lines are written as CSV without quotes: DuckDB's JSON would make a string of each of them, which is
larger. No event holds the character that separates columns, of which there is one."""

import os
import sys
from pathlib import Path

try:
    import duckdb
    import duckdb_extension_httpfs
    import duckdb_extension_postgres_scanner
except ImportError:
    sys.exit(127)

FORMATS = {
    "lines": "format csv, header false, delimiter '\x01', quote '', escape '', compression gzip",
    "parquet": "format parquet, compression zstd",
}


def load(database, package):
    """Loads the extension that a package holds."""
    (path,) = Path(package.__file__).parent.glob("extensions/*/*.duckdb_extension")
    database.load_extension(str(path))


def main():
    env = os.environ
    database = duckdb.connect()
    load(database, duckdb_extension_httpfs)
    load(database, duckdb_extension_postgres_scanner)
    host = env["AWS_ENDPOINT_URL_S3"].removeprefix("http://")
    database.execute(
        f"""create secret (type s3, endpoint '{host}', url_style 'path', use_ssl false,
                           region '{env["AWS_DEFAULT_REGION"]}',
                           key_id '{env["AWS_ACCESS_KEY_ID"]}',
                           secret '{env["AWS_SECRET_ACCESS_KEY"]}')"""
    )
    database.execute(f"attach '{env['SOURCE']}' as pg (type postgres, read_only)")
    copied = database.execute(
        f"""copy (select line from pg.public.audit_events
                   where org_id = '{env["ORG"]}' order by seq)
              to '{env["TARGET"]}' ({FORMATS[sys.argv[1]]})"""
    )
    (count,) = copied.fetchone()
    if count != int(env["EVENTS"]):
        sys.exit(f"DuckDB wrote {count} events")


main()
