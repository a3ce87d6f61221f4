"""`python -m imagefs_cli`: the `imagefs` command without its script; does nothing else."""

from imagefs_cli.main import main

if __name__ == "__main__":
    main()
