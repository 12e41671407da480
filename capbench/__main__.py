"""``python -m capbench``."""

from capbench.cli.main import main

if __name__ == "__main__":
    main()
