"""The commands of people on call, by what they are about: jobs, holds, dead letters."""
