package policy

// What the external tests look at.
const MaxHooks = maxHooks

var (
	Hash         = hash
	TemplateName = templateName
)
