"""``python -m provocative``."""

from provocative.cli.app import main

if __name__ == "__main__":
    main()
