package catalog

import (
	"fmt"
	"strings"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
)

// Task parameters that describe how to reach a target that is a database. They override what the target itself says. A
// task accepts a parameter only if it declares it, as the shipped Addons do.
const (
	ParamSecretName    = "secretName"
	ParamUsernameKey   = "usernameKey"
	ParamPasswordKey   = "passwordKey"
	ParamTLSSecretName = "tlsSecretName"
	ParamPort          = "port"
	ParamImage         = "image"
)

// RestoreParams returns the parameters that a restore gives to its task. info can be nil.
func RestoreParams(info *v1alpha1.AddonInfo) map[string]string {
	if info != nil && len(info.Tasks) == 1 {
		return info.Tasks[0].StringParams()
	}
	return map[string]string{}
}

// streams reports whether the mover of a task runs a program that talks to a database, as far as lookup knows its
// Function.
func streams(t *v1alpha1.Task, lookup func(string) *v1alpha1.Function) (streams, known bool) {
	function := lookup(MoverStep(t).Name)
	return function != nil && function.Spec.Stream != nil && !Unpacks(function), function != nil
}

// StreamMistakes finds targets and tasks that do not fit: a database needs a task whose mover runs a program, and only
// a database can have such a task. A Service also needs the credentials of its database.
func StreamMistakes(
	field string, addon *v1alpha1.Addon, info *v1alpha1.AddonInfo, restore bool, target *v1alpha1.TypedObjectReference,
	lookup func(string) *v1alpha1.Function,
) []policy.Mistake {
	var mistakes []policy.Mistake
	for i := range info.Tasks {
		reference := &info.Tasks[i]
		found := FindTask(addon, reference.Name, restore)
		if found == nil {
			continue
		}
		at := fmt.Sprintf("%s.tasks[%d]", field, i)
		streams, known := streams(found, lookup)
		database := target != nil && target.IsDatabase()
		if database && !restore { // DatabaseRestoreMistakes checks a restore.
			mistakes = append(mistakes, volumesOfDatabase(at, reference)...)
		}
		switch {
		case !known:
		case database && !streams:
			mistakes = append(mistakes,
				invalidTask(at+".name",
					"the target is a database, but the task %q of Addon %q is for volumes: name the Addon of the "+
						"database, such as postgres-addon", found.Name, addon.Name))
		case !database && streams:
			mistakes = append(mistakes,
				invalidTask(at+".name", "the task %q of Addon %q is for a database: name its Service as the target",
					found.Name, addon.Name))
		case database && target.Kind == v1alpha1.KindService && reference.StringParams()[ParamSecretName] == "":
			mistakes = append(mistakes,
				invalidParameter(at+".params",
					"a Service does not name the credentials of its database: name the Secret with its username and "+
						"password in the parameter %q", ParamSecretName))
		}
	}
	return mistakes
}

// volumesOfDatabase reports a task with volumes of its target, because a database has none. Volumes that the task
// itself needs, such as for a client's configuration, are addonVolumes.
func volumesOfDatabase(field string, reference *v1alpha1.TaskReference) []policy.Mistake {
	if reference.TargetVolumes == nil {
		return nil
	}
	return []policy.Mistake{{
		Field: field + ".targetVolumes", Reason: v1alpha1.ReasonResourceValidationFailed,
		Message: "a database is reached over the network, and its mover sees none of its volumes: leave " +
			"targetVolumes out",
	}}
}

// DatabaseRestoreMistakes finds settings of a restore into a database that only a restore into a volume supports. field
// is the path of the restore.
func DatabaseRestoreMistakes(field string, restore *v1alpha1.RestoreSessionSpec) []policy.Mistake {
	var mistakes []policy.Mistake
	add := func(at, message string) {
		mistakes = append(mistakes, policy.Mistake{
			Field: field + "." + at, Reason: v1alpha1.ReasonResourceValidationFailed,
			Message: message,
		})
	}
	if restore.Target == nil || !restore.Target.IsDatabase() {
		return nil
	}
	if restore.Verify {
		add("verify",
			"a restore into a database cannot be verified, because its data cannot be read back: leave verify out")
	}
	if restore.DeleteExtraFiles {
		add("deleteExtraFiles",
			"a database has no files: with confirm, its restore replaces what the dump has and leaves everything else")
	}
	if p := restore.OverwritePolicy; p != "" && p != v1alpha1.OverwriteAlways {
		add("overwritePolicy",
			fmt.Sprintf("%s is for files: with confirm, a restore into a database replaces what the dump has", p))
	}
	if restore.Addon != nil {
		for i := range restore.Addon.Tasks {
			mistakes = append(mistakes, volumesOfDatabase(fmt.Sprintf("%s.addon.tasks[%d]", field, i),
				&restore.Addon.Tasks[i])...)
		}
	}
	return mistakes
}

// eachMistake explains why a value of a stream's list cannot be a part of a component's name; "" if it can.
func eachMistake(value string) string {
	if value == "" || len(value) > maxEach ||
		strings.IndexFunc(value, func(r rune) bool { return !eachRune(r) }) >= 0 ||
		strings.ContainsRune("-.", rune(value[0])) {
		return fmt.Sprintf("%.64q cannot be dumped on its own: such a name has at most %d letters, digits, dots, "+
			"dashes and underscores, and does not begin with a dot or dash. Dump everything instead", value, maxEach)
	}
	return ""
}

// maxEach bounds the names of components, which are parts of file names.
const maxEach = 128

func eachRune(r rune) bool {
	return r == '_' || r == '-' || r == '.' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
}
