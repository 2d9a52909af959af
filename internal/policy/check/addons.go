package check

import (
	"fmt"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/catalog"
)

// addonObject checks an Addon of the set and the references to its Functions.
func (c *checker) addonObject(o *Object) {
	var addon v1alpha1.Addon
	if !c.read(o, v1alpha1.AddonKind, &addon) {
		return
	}
	c.addAll(o, catalog.AddonMistakes(&addon))
	for _, list := range catalog.TaskLists(&addon) {
		for i, t := range list.Tasks {
			c.function(o, fmt.Sprintf("%s[%d].function", list.Field, i), t.Function)
			for j, step := range t.Steps {
				c.function(o, fmt.Sprintf("%s[%d].steps[%d].name", list.Field, i, j), step.Name)
			}
		}
	}
}

// function looks for a Function that an Addon names.
func (c *checker) function(o *Object, field, name string) {
	if name != "" {
		c.find(o, field, v1alpha1.ReasonFunctionNotFound, Reference{GroupKind: ours(v1alpha1.FunctionKind), Name: name})
	}
}
