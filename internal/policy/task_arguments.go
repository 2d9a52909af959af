package policy

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

// moverSwitches are the arguments of the mover that are either on or off.
var moverSwitches = []string{"--set-id", "--devices", "--cache", "--bind"}

// moverUnpack is the argument that names the directory into which the mover unpacks an archive.
const moverUnpack = "--unpack"

// moverWait is the argument that says how long what the mover makes in the cluster may take.
const moverWait = "--wait-timeout"

// MoverArguments says which argument of a Function that runs the mover can't be one, once c has all variables filled in: the mover
// would refuse it, but only when it runs.
func MoverArguments(f *v1alpha1.Function, c *corev1.Container) error {
	if f.Spec.Image != "${moverImage}" && f.Spec.Stream == nil {
		return nil
	}
	for i, arg := range c.Args {
		name, value, given := strings.Cut(arg, "=")
		switch {
		case !given:
		case name == moverUnpack:
			// The mover gives the directory a mode of its own, which the volume's can't have. A program does not.
			if value == "" || !filepath.IsLocal(value) || filepath.Clean(value) == "." && f.Spec.Stream == nil {
				return fmt.Errorf("function %q: %s is %q in place of a directory inside the volume, such as pgdata", f.Name, switchSource(f, i, name), value)
			}
		case name == moverWait:
			if wait, err := time.ParseDuration(value); err != nil || wait <= 0 {
				return fmt.Errorf("function %q: %s is %q in place of a duration such as 10m", f.Name, switchSource(f, i, name), value)
			}
		case slices.Contains(moverSwitches, name):
			if _, err := strconv.ParseBool(value); err != nil {
				return fmt.Errorf("function %q: %s is %q in place of true or false", f.Name, switchSource(f, i, name), value)
			}
		}
	}
	return nil
}

// switchSource is what a policy calls the value of an argument: the parameter that the Function takes it from.
func switchSource(f *v1alpha1.Function, i int, name string) string {
	if i < len(f.Spec.Args) {
		if _, text, found := strings.Cut(f.Spec.Args[i], "=${"); found {
			if parameter, _, _ := strings.Cut(strings.TrimSuffix(text, "}"), ":"); parameter != "" {
				return fmt.Sprintf("the parameter %q", parameter)
			}
		}
	}
	return "the argument " + name
}

// Unpacks says whether a Function has the mover, or the program that it runs, make files in a volume of what was kept of a database.
func Unpacks(f *v1alpha1.Function) bool {
	return slices.ContainsFunc(f.Spec.Args, func(arg string) bool { return strings.HasPrefix(arg, moverUnpack+"=") })
}
