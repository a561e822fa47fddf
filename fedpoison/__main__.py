"""Run the command line as `python -m fedpoison`."""

from fedpoison.cli import main

if __name__ == "__main__":
    main()
