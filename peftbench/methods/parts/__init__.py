"""What several methods share: places by closed form, parametrisations, transforms, masks."""
