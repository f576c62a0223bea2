"""What has to be said beside a table: remarks, caveats, next commands."""
