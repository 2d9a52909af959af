package policy

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// The parameters of a task that say how its target, a database, is reached, over what the target itself says. A task has them by
// declaring them, as the shipped Addons do.
const (
	ParamSecretName    = "secretName"
	ParamUsernameKey   = "usernameKey"
	ParamPasswordKey   = "passwordKey"
	ParamTLSSecretName = "tlsSecretName"
	ParamPort          = "port"
	ParamImage         = "image"
)

// Params are the parameters that a policy gives a task, without those that are no strings.
func Params(reference *v1alpha1.TaskReference) map[string]string {
	given, _ := paramsOf(reference.Params)
	out := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		if value, ok := given[name].(string); ok {
			out[name] = value
		}
	}
	return out
}

// streams says whether the mover of a task runs a program that talks to a database, as far as lookup knows its Function.
func streams(t *v1alpha1.Task, lookup func(string) *v1alpha1.Function) (streams, known bool) {
	function := lookup(MoverStep(t).Name)
	return function != nil && function.Spec.Stream != nil && !Unpacks(function), function != nil
}

// StreamMistakes says where a target and a task don't go together: a database needs one whose mover runs a program, and only a
// database has one. A Service says nothing about its credentials.
func StreamMistakes(field string, addon *v1alpha1.Addon, info *v1alpha1.AddonInfo, restore bool, target *v1alpha1.TypedObjectReference, lookup func(string) *v1alpha1.Function) []Mistake {
	var mistakes []Mistake
	for i := range info.Tasks {
		reference := &info.Tasks[i]
		found := FindTask(addon, reference.Name, restore)
		if found == nil {
			continue
		}
		at := fmt.Sprintf("%s.tasks[%d]", field, i)
		streams, known := streams(found, lookup)
		database := target != nil && target.IsDatabase()
		if database && !restore { // DatabaseRestoreMistakes has those of a restore
			mistakes = append(mistakes, volumesOfDatabase(at, reference)...)
		}
		switch {
		case !known:
		case database && !streams:
			mistakes = append(mistakes, invalidTask(at+".name", "the target is a database, and the task %q of Addon %q is for volumes: name the Addon of the database, such as postgres-addon", found.Name, addon.Name))
		case !database && streams:
			mistakes = append(mistakes, invalidTask(at+".name", "the task %q of Addon %q is for a database: name its Service as the target", found.Name, addon.Name))
		case database && target.Kind == v1alpha1.KindService && Params(reference)[ParamSecretName] == "":
			mistakes = append(mistakes, invalidParameter(at+".params", "a Service says nothing about the credentials of its database: name the Secret with its username and password in the parameter %q", ParamSecretName))
		}
	}
	return mistakes
}

// volumesOfDatabase is the mistake of a task that brings volumes of its target along, of which a database has none. The volumes that
// the task itself needs, as for a client's configuration, are addonVolumes.
func volumesOfDatabase(field string, reference *v1alpha1.TaskReference) []Mistake {
	if reference.TargetVolumes == nil {
		return nil
	}
	return []Mistake{{Field: field + ".targetVolumes", Reason: v1alpha1.ReasonResourceValidationFailed,
		Message: "a database is reached through its network, and has no volumes that its mover sees: leave it out"}}
}

// DatabaseRestoreMistakes says what a restore into a database asks for that only one into a volume can do. field is where restore
// stands.
func DatabaseRestoreMistakes(field string, restore *v1alpha1.RestoreSessionSpec) []Mistake {
	var mistakes []Mistake
	add := func(at, message string) {
		mistakes = append(mistakes, Mistake{Field: field + "." + at, Reason: v1alpha1.ReasonResourceValidationFailed, Message: message})
	}
	if restore.Target == nil || !restore.Target.IsDatabase() {
		return nil
	}
	if restore.Verify {
		add("verify", "what a program was fed can't be read back: a restore into a database can't be verified")
	}
	if restore.DeleteExtraFiles {
		add("deleteExtraFiles", "a database has no files: with confirm its restore replaces what the dump has, and what else is there stays")
	}
	if p := restore.OverwritePolicy; p != "" && p != v1alpha1.OverwriteAlways {
		add("overwritePolicy", fmt.Sprintf("%s is for files: with confirm a restore into a database replaces what the dump has", p))
	}
	if restore.Addon != nil {
		for i := range restore.Addon.Tasks {
			mistakes = append(mistakes, volumesOfDatabase(fmt.Sprintf("%s.addon.tasks[%d]", field, i), &restore.Addon.Tasks[i])...)
		}
	}
	return mistakes
}

// EachMistake says why a value of a stream's list can't be a part of a component's name, or "".
func EachMistake(value string) string {
	if value == "" || len(value) > maxEach || strings.IndexFunc(value, func(r rune) bool { return !eachRune(r) }) >= 0 || strings.ContainsRune("-.", rune(value[0])) {
		return fmt.Sprintf("%.64q can't be dumped by itself: such a name has up to %d letters, digits, dots, dashes and underscores, and does not begin with a dot or dash. Dump everything instead", value, maxEach)
	}
	return ""
}

// maxEach keeps names of components, which are parts of names of files, short.
const maxEach = 128

func eachRune(r rune) bool {
	return r == '_' || r == '-' || r == '.' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
}
