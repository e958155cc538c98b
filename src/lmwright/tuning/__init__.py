"""Few weights beside a model that stays as it is: adapters, read and applied."""
