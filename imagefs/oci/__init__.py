"""Values and documents of the OCI image specification. Opens nothing, knows no network."""
