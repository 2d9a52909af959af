package catalog

import (
	"cmp"
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/policy"
	"github.com/cairn-backup/cairn/internal/variables"
)

// MistakesOfUse returns why the tasks of info can't be used for the target: the findings of TaskMistakes, else those of
// StreamMistakes and of FunctionMistakes. It leaves out what FunctionMistakes finds of a task that does not fit the
// target: such a task lacks variables for that reason.
func MistakesOfUse(
	field string, addon *v1alpha1.Addon, info *v1alpha1.AddonInfo, restore bool, target *v1alpha1.TypedObjectReference,
	builtin variables.Builtin, lookup func(string) *v1alpha1.Function,
) []policy.Mistake {
	if mistakes := TaskMistakes(field, addon, info, restore); len(mistakes) > 0 {
		return mistakes
	}
	mistakes := StreamMistakes(field, addon, info, restore, target, lookup)
	unfit := map[string]bool{}
	for _, m := range mistakes {
		if m.Reason == v1alpha1.ReasonInvalidTask {
			unfit[taskOf(field, m)] = true
		}
	}
	for _, m := range FunctionMistakes(field, addon, info, restore, builtin, lookup) {
		if !unfit[taskOf(field, m)] {
			mistakes = append(mistakes, m)
		}
	}
	return mistakes
}

// taskOf returns the index of the task below field that a mistake is about.
func taskOf(field string, m policy.Mistake) string {
	index, _, _ := strings.Cut(strings.TrimPrefix(m.Field, field+".tasks["), "]")
	return index
}

// FunctionMistakes fills in the variables of every Function that info's tasks name. It reports variables that cannot be
// filled in, and parameters that lack another parameter that they require. It skips a Function that lookup does not
// know. builtin holds at least the names that will be known when the task runs; its values do not matter.
func FunctionMistakes(
	field string, addon *v1alpha1.Addon, info *v1alpha1.AddonInfo, restore bool, builtin variables.Builtin,
	lookup func(string) *v1alpha1.Function,
) []policy.Mistake {
	var mistakes []policy.Mistake
	for i, reference := range info.Tasks {
		found := FindTask(addon, reference.Name, restore)
		if found == nil {
			continue
		}
		at := fmt.Sprintf("%s.tasks[%d]", field, i)
		mistakes = append(mistakes, requirementMistakes(at, found, &reference, builtin)...)
		for _, step := range TaskSteps(found) {
			function := lookup(step.Name)
			if function == nil {
				continue
			}
			values, err := stepValues(found, step, &reference, builtin)
			if err == nil {
				var c corev1.Container
				if c, err = variables.FunctionContainer(function, values); err == nil {
					err = cmp.Or(moverArguments(function, &c), streamMistake(function, values, restore))
				}
			}
			if err != nil {
				mistakes = append(mistakes, invalidParameter(at, "task %q of Addon %q: %v", found.Name, addon.Name,
					err))
			}
		}
	}
	return mistakes
}

// streamMistake finds an unknown variable in a Function's stream, or a value of its list that cannot be the name of a
// component.
func streamMistake(f *v1alpha1.Function, values variables.Values, restore bool) error {
	if f.Spec.Stream == nil {
		return nil
	}
	wrong := func(err error) error { return fmt.Errorf("Function %q: %w", f.Name, err) }
	switch {
	case restore && f.Spec.Stream.DataDirectory != "":
		return wrong(errors.New(
			"stream.dataDirectory is for backups: name the directory of a restore in the argument --unpack"))
	case !restore && f.Spec.Stream.Finish != nil:
		return wrong(errors.New("only a restore can use stream.finish: remove it"))
	}
	if !restore {
		each, err := values.Each(f.Spec.Stream)
		if err != nil {
			return wrong(err)
		}
		for _, value := range each {
			if why := eachMistake(value); why != "" {
				return wrong(errors.New(why))
			}
		}
	}
	whole, err := values.Stream(f.Spec.Stream, "")
	if err == nil && restore {
		err = mistakeOfEveryRestore(f.Spec.Stream, values, whole)
	}
	if err != nil {
		return wrong(err)
	}
	return nil
}

// mistakeOfEveryRestore returns what is wrong with a restore whatever the components of the Snapshot are, which only
// the cluster knows: an argument can be wrong for a dump of everything alone, or for one of a part alone. The part can
// be the database that an argument names.
func mistakeOfEveryRestore(s *v1alpha1.FunctionStream, values variables.Values, whole *v1alpha1.ResolvedStream) error {
	mistake := restoreMistake(whole, known)
	if mistake == nil {
		return nil
	}
	part, err := values.Stream(s, known)
	if err != nil {
		return err
	}
	return restoreMistake(part, known)
}

// known stands for the value of a variable that is known only when the task runs.
const known = "known-later"

// knownVersion stands for the version of a database. Unlike known it is a version: a Function's availableVersions are
// compared with it.
const knownVersion = "0"

// PlaceholdersOfBackup returns the built-in variables that a backup task can count on, with placeholder values. The
// Snapshot is known only with a single Repository; zero repositories means one that is inferred.
func PlaceholdersOfBackup(target *v1alpha1.TypedObjectReference, repositories int) variables.Builtin {
	b := LaterKnown(target)
	b.BackupSession, b.InvokerKind, b.InvokerName = known, known, known
	if repositories <= 1 {
		b.Snapshot = known
	}
	return b
}

// PlaceholdersOfRestore returns the built-in variables that a restore task can count on. target can be nil.
func PlaceholdersOfRestore(target *v1alpha1.TypedObjectReference) variables.Builtin {
	b := LaterKnown(target)
	b.RestoreSession, b.Snapshot = known, known
	return b
}

// LaterKnown returns a placeholder for each built-in variable, because the values are known only when a run starts.
func LaterKnown(target *v1alpha1.TypedObjectReference) variables.Builtin {
	b := variables.Builtin{MoverImage: known + "/mover:v1", Namespace: known, TargetKind: known, TargetName: known}
	if target != nil {
		b.TargetKind, b.TargetName = target.Kind, target.Name
		if target.IsDatabase() {
			b.TargetHost, b.TargetPort, b.TargetImage, b.DatabaseVersion = known, known, known, knownVersion
			// Other targets never name a database.
			if target.Kind == v1alpha1.KindSecret || target.Kind == v1alpha1.KindCluster {
				b.TargetDatabase = known
			}
		}
	}
	return b
}
