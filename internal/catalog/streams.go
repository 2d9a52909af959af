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
			err = restoreMistake(stream, laterDatabase(vars))
		}
		if err != nil {
			return nil, wrongParameters(addon, found, function, err)
		}
		out = append(out, ComponentStream{Component: componentOf(part), Stream: stream})
	}
	return out, nil
}

// laterDatabase returns what stands for the database of the target if it is known only when the task runs, or "".
func laterDatabase(vars Variables) string {
	if vars.TargetDatabase == known {
		return known
	}
	return ""
}

// restoreMistake returns an error if the program of a restore would not do what it should. later is what stands for the
// name of a database that is known only when the task runs; "" if all names are known.
func restoreMistake(s *v1alpha1.ResolvedStream, later string) error {
	if s.SearchPath != "" {
		if err := pgsearchpath.Check(s.SearchPath); err != nil {
			return err
		}
	}
	return barredArgument(s, later)
}

// barredArgument returns an error if an argument makes the client of a database end well without what the dump has, or
// load it elsewhere. later is that of restoreMistake.
func barredArgument(s *v1alpha1.ResolvedStream, later string) error {
	client := path.Base(s.Command[0])
	options, set := clients[client], slices.Clone(s.Command)
	for _, a := range s.Args {
		set = append(set, a.Value)
	}
	var into []string
	for _, a := range s.Args {
		name, value, _ := strings.Cut(a.Value, "=")
		if a.IfKey == "" && options.database.is(name, a.Value, options.flags) {
			database := databaseOf(value)
			if slices.ContainsFunc(into, func(d string) bool { return !maySame(d, database, later) }) {
				return fmt.Errorf("with the argument %q, %s %s", name, client, options.database.why)
			}
			into = append(into, database)
		}
		for _, b := range options.barred {
			if (b.beside == "" || slices.Contains(set, b.beside)) && b.is(name, a.Value, options.flags) {
				return fmt.Errorf("with the argument %q, %s %s", name, client, b.why)
			}
		}
	}
	return nil
}

// maySame reports whether two names can be those of the same database. An empty one stands for a name that is in
// another word. later is that of restoreMistake.
func maySame(a, b, later string) bool {
	open := later != "" && (strings.Contains(a, later) || strings.Contains(b, later))
	return a != "" && b != "" && (a == b || open)
}

// databaseOf returns the database that a connection string of PostgreSQL names: all of it, or the value of dbname.
func databaseOf(connection string) string {
	for _, setting := range strings.Fields(connection) {
		if name, found := strings.CutPrefix(setting, "dbname="); found {
			return name
		}
	}
	return connection
}

// barred are options with which a client loads less, or more, than whoever sets them can mean.
type barred struct {
	long   []string
	short  string
	why    string
	beside string // bars them only where the client has this argument, too
}

// is reports whether an argument has one of these options. name is what stands before an equals sign. flags are the
// short options without a value: several of them can stand in one argument, before one with a value.
func (b *barred) is(name, argument, flags string) bool {
	if strings.HasPrefix(argument, "--") {
		name = strings.ReplaceAll(name, "_", "-")
		for _, prefix := range []string{"--loose-", "--enable-"} { // those of MySQL
			if rest, ok := strings.CutPrefix(name, prefix); ok {
				name = "--" + rest
			}
		}
		return len(name) > len("--") && slices.ContainsFunc(b.long, func(option string) bool {
			return strings.HasPrefix(option, name)
		})
	}
	letters, _ := strings.CutPrefix(argument, "-")
	if letters == argument {
		return false
	}
	for _, letter := range letters {
		if strings.ContainsRune(b.short, letter) {
			return true
		}
		if !strings.ContainsRune(flags, letter) {
			return false
		}
	}
	return false
}

// What barred options do.
const (
	loadsNothing = "would load nothing: leave it out"
	// With --binary-mode the client notices no USE in the dump, by which it would tell the databases apart.
	loadsAnyDatabase = "would load all databases of the dump, or none: leave it out. The guide to databases shows " +
		"how to cut one database out of a dump"
	dropsMore = "would drop more than it brings back: indexes, keys, defaults, triggers, policies and grants of what " +
		"it names can stay away. Restore all of the database into an empty one of another name, and copy what you " +
		"need from there: the guide to databases shows how"
	loadsElsewhere = "would load the dump into another database than the one that the restore looks at, whatever it " +
		"holds: leave it out. To load it into a database of another name, print it with cairn snapshot cat"
)

// clients are the options of the clients that a restore must not set. database is the one that names the database: a
// restore must not set it again.
var clients = map[string]struct {
	flags    string
	barred   []barred
	database barred
}{
	"psql": {flags: "aAbeEnqsStwWxXz01", database: databaseOfPostgres, barred: []barred{
		{long: []string{"--list", "--version", "--help"}, short: "lV?", why: loadsNothing},
	}},
	"pg_restore": {flags: "acCeEORsvwWx1", database: databaseOfPostgres, barred: []barred{
		{long: []string{"--list"}, short: "l", why: loadsNothing},
		{
			long: []string{"--table", "--index", "--function", "--trigger"}, short: "tIPT", why: dropsMore,
			beside: "--clean",
		},
	}},
	"mariadb": {flags: flagsOfMySQL, barred: barredOfMySQL},
	"mysql":   {flags: flagsOfMySQL, barred: barredOfMySQL},
}

var databaseOfPostgres = barred{long: []string{"--dbname"}, short: "d", why: loadsElsewhere}

const flagsOfMySQL = "ABCEGHLNTUXbcfijnoqrstvw"

var barredOfMySQL = []barred{
	{long: []string{"--execute", "--version", "--help"}, short: "eV?I", why: loadsNothing},
	{long: []string{"--one-database"}, short: "o", why: loadsAnyDatabase, beside: "--binary-mode"},
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
