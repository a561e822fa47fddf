"""`python -m fedpoison` is the same as `fedpoison`."""

from fedpoison.cli import main

if __name__ == "__main__":
    main()
