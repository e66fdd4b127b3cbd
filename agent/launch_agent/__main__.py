"""`python -m launch_agent` is the command line."""

from launch_agent.cli.main import main

if __name__ == "__main__":
    main()
