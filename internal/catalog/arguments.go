package catalog

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/repository"
)

// moverSwitches are the boolean arguments of the mover.
var moverSwitches = []string{"--set-id", "--devices", "--cache", "--bind", moverIgnoreInode}

// moverPatterns are the arguments of the mover that hold comma-separated patterns.
var moverPatterns = []string{"--include", "--exclude"}

// moverUnpack is the argument that names the directory into which the mover unpacks an archive.
const moverUnpack = "--unpack"

// moverWait is the argument that bounds how long the mover waits for objects that it creates in the cluster.
const moverWait = "--wait-timeout"

// moverFullRead is the argument that says how often the mover reads every file, changed or not. With moverIgnoreInode
// it takes a file for unchanged whatever its ctime and inode are.
const (
	moverFullRead    = "--full-read-every"
	moverIgnoreInode = "--ignore-inode"
)

// FullReadEvery reads the value of the mover's argument --full-read-every. Empty means never.
func FullReadEvery(value string, ignoreInode bool) (time.Duration, error) {
	if value == "" && ignoreInode {
		return 0, errors.New("files are compared without ctime and inode, but never read to find what that misses: " +
			"set how often all files are read, for example 168h")
	}
	if value == "" {
		return 0, nil
	}
	every, err := time.ParseDuration(value)
	if err != nil || every <= 0 {
		return 0, fmt.Errorf("it is %q instead of a duration such as 168h, or empty", value)
	}
	return every, nil
}

// moverArguments finds an invalid argument of a Function that runs the mover. c is the Function's container with all
// variables filled in. The mover would refuse the argument too, but only when it runs.
func moverArguments(f *v1alpha1.Function, c *corev1.Container) error {
	if f.Spec.Image != "${moverImage}" && f.Spec.Stream == nil {
		return nil
	}
	ignoreInode := slices.ContainsFunc(c.Args, func(arg string) bool {
		name, value, _ := strings.Cut(arg, "=")
		ignores, _ := strconv.ParseBool(value)
		return name == moverIgnoreInode && ignores
	})
	for i, arg := range c.Args {
		name, value, given := strings.Cut(arg, "=")
		switch {
		case !given:
		case name == moverUnpack:
			// The mover sets the mode of the directory, which the mode of the volume's root does not allow. A program
			// does not.
			if value == "" || !filepath.IsLocal(value) || filepath.Clean(value) == "." && f.Spec.Stream == nil {
				return fmt.Errorf("Function %q: %s is %q instead of a directory inside the volume, such as pgdata",
					f.Name, switchSource(f, i, name), value)
			}
		case slices.Contains(moverPatterns, name):
			if err := repository.CheckPatterns(strings.Split(value, ",")); err != nil {
				return fmt.Errorf("Function %q: %s is %q: %w", f.Name, switchSource(f, i, name), value, err)
			}
		case name == moverWait:
			if wait, err := time.ParseDuration(value); err != nil || wait <= 0 {
				return fmt.Errorf("Function %q: %s is %q instead of a duration such as 10m", f.Name,
					switchSource(f, i, name), value)
			}
		case name == moverFullRead:
			if _, err := FullReadEvery(value, ignoreInode); err != nil {
				return fmt.Errorf("Function %q: %s: %w", f.Name, switchSource(f, i, name), err)
			}
		case slices.Contains(moverSwitches, name):
			if _, err := strconv.ParseBool(value); err != nil {
				return fmt.Errorf("Function %q: %s is %q instead of true or false", f.Name, switchSource(f, i, name),
					value)
			}
		}
	}
	return nil
}

// switchSource names the source of an argument's value in policy: the parameter that the Function takes it from, else
// the argument.
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

// Unpacks reports whether the mover, or the program that a Function runs, turns the backup of a database into files of
// a volume.
func Unpacks(f *v1alpha1.Function) bool {
	return slices.ContainsFunc(f.Spec.Args, func(arg string) bool { return strings.HasPrefix(arg, moverUnpack+"=") })
}
