package catalog

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/pgsearchpath"
)

// Names of a database's components: one for everything, or one for each named part.
const (
	dumpComponent = "dump"
	dumpPrefix    = dumpComponent + "-"
)

// maxStreams is the bound of ResolvedHost.volumes in the API.
const maxStreams = 32

// ComponentStream is a component of a database and the program that writes or reads it.
type ComponentStream struct {
	Component string
	Stream    *v1alpha1.ResolvedStream
}

// Streams fills in the program of a task's mover for each component of a database. A backup has the components that the
// Function's list names, a restore those in components. The caller must have passed the task and its parameters to
// Resolve without an error. A Function without a stream is a mistake.
func Streams(
	addon *v1alpha1.Addon, functions FunctionLookup, info v1alpha1.AddonInfo, restore bool, vars Variables,
	components []string,
) ([]ComponentStream, *v1alpha1.ResolvedError) {
	reference := &info.Tasks[0]
	found := FindTask(addon, reference.Name, restore)
	step := MoverStep(found)
	function := functions(step.Name)
	switch {
	case function != nil && restore && Unpacks(function):
		return nil, refuse(v1alpha1.ReasonInvalidTask,
			"task %q of Addon %q restores into a PersistentVolumeClaim, with which a server is started afterwards, "+
				"and not into a running server: name a claim as the target, or make a claim with targetVolumes",
			found.Name, addon.Name)
	case function == nil || function.Spec.Stream == nil:
		return nil, refuse(v1alpha1.ReasonInvalidTask,
			"task %q of Addon %q is for volumes, but the target is a database: name the Addon of the database, such "+
				"as postgres-addon", found.Name, addon.Name)
	}
	values, err := stepValues(found, step, reference, vars)
	if err != nil {
		return nil, wrongParameters(addon, found, function, err)
	}
	var parts []string
	if restore {
		for _, c := range components {
			part, ok := partOf(c)
			if !ok {
				return nil, refuse(v1alpha1.ReasonComponentNotFound,
					"component %s is not the dump of a database: restore it into a volume, or leave it out with "+
						"dataSource.components", c)
			}
			parts = append(parts, part)
		}
	} else if parts, err = values.Each(function.Spec.Stream); err != nil {
		return nil, wrongParameters(addon, found, function, err)
	}
	if len(parts) == 0 {
		parts = []string{""}
	}
	if len(parts) > maxStreams {
		return nil, refuse(v1alpha1.ReasonInvalidParameters,
			"%d databases are named, but at most %d can be components of their own: dump everything, or use several "+
				"sessions", len(parts), maxStreams)
	}
	var out []ComponentStream
	for _, part := range parts {
		if why := eachMistake(part); part != "" && why != "" {
			return nil, refuse(v1alpha1.ReasonInvalidParameters, "%s", why)
		}
		stream, err := values.Stream(function.Spec.Stream, part)
		if err == nil && restore {
			err = restoreMistake(stream)
		}
		if err != nil {
			return nil, wrongParameters(addon, found, function, err)
		}
		out = append(out, ComponentStream{Component: componentOf(part), Stream: stream})
	}
	return out, nil
}

// restoreMistake returns an error if the program of a restore would not do what it should.
func restoreMistake(s *v1alpha1.ResolvedStream) error {
	if s.SearchPath != "" {
		if err := pgsearchpath.Check(s.SearchPath); err != nil {
			return err
		}
	}
	return loadsNothing(s)
}

// loadsNothing returns an error if an argument makes the client of a database print something, or run something else,
// and end well without reading the dump.
func loadsNothing(s *v1alpha1.ResolvedStream) error {
	client := path.Base(s.Command[0])
	for _, a := range s.Args {
		name, _, _ := strings.Cut(a.Value, "=")
		options := idle[client]
		long := len(name) > len("--") && slices.ContainsFunc(options.long, func(option string) bool {
			return strings.HasPrefix(option, strings.ReplaceAll(name, "_", "-"))
		})
		letters := strings.TrimLeft(strings.TrimPrefix(a.Value, "-"), options.flags)
		short := !strings.HasPrefix(a.Value, "--") && strings.HasPrefix(a.Value, "-") && letters != "" &&
			strings.ContainsRune(options.short, rune(letters[0]))
		if long || short {
			return fmt.Errorf("with the argument %q, %s would load nothing: leave it out", name, client)
		}
	}
	return nil
}

// idle are the options with which a client loads nothing: long ones, short ones, and those short ones without a value
// that can stand before them in one argument.
var idle = map[string]struct {
	long         []string
	short, flags string
}{
	"psql":       {[]string{"--list", "--version", "--help"}, "lV?", "aAbeEnqsStwWxXz01"},
	"pg_restore": {[]string{"--list"}, "l", "acCeEORsvwWx1"},
	"mariadb":    {[]string{"--execute", "--version", "--help"}, "eV?I", "ABCEGHLNUXbcfijnoqrstvw"},
	"mysql":      {[]string{"--execute", "--version", "--help"}, "eV?I", "ABCEGHLNUXbcfijnoqrstvw"},
}

// Unpacker returns the program that turns restored data into files of a volume; nil if the task's mover does that
// itself or restores files unchanged. The caller must have passed the task and its parameters to Resolve without an
// error.
func Unpacker(
	addon *v1alpha1.Addon, functions FunctionLookup, info v1alpha1.AddonInfo, vars Variables,
) (*v1alpha1.ResolvedStream, *v1alpha1.ResolvedError) {
	found := FindTask(addon, info.Tasks[0].Name, true)
	step := MoverStep(found)
	function := functions(step.Name)
	if function == nil || function.Spec.Stream == nil {
		return nil, nil
	}
	values, err := stepValues(found, step, &info.Tasks[0], vars)
	if err != nil {
		return nil, wrongParameters(addon, found, function, err)
	}
	stream, err := values.Stream(function.Spec.Stream, "")
	if err != nil {
		return nil, wrongParameters(addon, found, function, err)
	}
	return stream, nil
}

// wrongParameters reports what cannot be filled into the Function of a task.
func wrongParameters(
	addon *v1alpha1.Addon, task *v1alpha1.Task, function *v1alpha1.Function, err error,
) *v1alpha1.ResolvedError {
	return refuse(v1alpha1.ReasonInvalidParameters, "task %q of Addon %q: Function %q: %v", task.Name, addon.Name,
		function.Name, err)
}

// componentOf returns the name of the component for one value of a list; "" stands for everything.
func componentOf(part string) string {
	if part == "" {
		return dumpComponent
	}
	return dumpPrefix + part
}

// partOf is the inverse of componentOf.
func partOf(component string) (string, bool) {
	part, ok := strings.CutPrefix(component, dumpPrefix)
	if ok {
		return part, eachMistake(part) == ""
	}
	return "", component == dumpComponent
}
