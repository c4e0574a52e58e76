"""`python -m tapehouse`: the command line where the package is not installed, as in the image of `deployments/`."""

from tapehouse.cli import main

if __name__ == "__main__":
    main(prog_name="tapehouse")
