package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/cairn-backup/cairn/hack/cluster/internal/image"
)

// list is a flag that may be repeated.
type list []string

func (l *list) String() string { return strings.Join(*l, " ") }

func (l *list) Set(v string) error {
	*l = append(*l, v)
	return nil
}

// imageFlags are the flags that describe an image.
type imageFlags struct {
	ref, entrypoint, user string
	roots, programs       list
}

func (f *imageFlags) flags(fs *flag.FlagSet) {
	fs.StringVar(&f.ref, "ref", "",
		"reference with a host part and a tag other than latest, like cairn.local/app:dev (required)")
	fs.StringVar(&f.entrypoint, "entrypoint", "", "entrypoint, parts separated by spaces (default: the first file)")
	fs.StringVar(&f.user, "user", "", "uid[:gid] to run as (default: root; every image knows 65532)")
	fs.Var(&f.roots, "root", "directory or tar file with content for /; may be repeated, the first to have a path wins")
	fs.Var(&f.programs, "with-libs",
		"PROGRAM[:PATH], dynamically linked, to add together with its shared libraries; may be repeated")
}

// spec describes the image of the flags and of arguments like FILE[:PATH].
func (f *imageFlags) spec(args []string) (image.Spec, error) {
	s := image.Spec{Ref: f.ref, Roots: f.roots, User: f.user, Entrypoint: strings.Fields(f.entrypoint)}
	for _, a := range args {
		src, dst, ok := strings.Cut(a, ":")
		if !ok {
			dst = "/" + filepath.Base(src)
		}
		s.Files = append(s.Files, image.File{Source: src, Path: dst})
	}
	have := map[string]bool{}
	for _, p := range f.programs {
		src, dst, ok := strings.Cut(p, ":")
		if !ok {
			dst = src
		}
		files, err := image.WithLibraries(src, dst)
		if err != nil {
			return s, err
		}
		for _, file := range files {
			if !have[file.Path] { // programs share libraries
				have[file.Path] = true
				s.Files = append(s.Files, file)
			}
		}
	}
	if len(s.Entrypoint) == 0 && len(s.Files) > 0 {
		s.Entrypoint = []string{s.Files[0].Path}
	}
	return s, s.Validate()
}

func runImage(_ context.Context, fs *flag.FlagSet, args []string) error {
	var f imageFlags
	f.flags(fs)
	out := fs.String("out", "", "file to write (required)")
	if err := fs.Parse(args); err != nil {
		return err
	}
	spec, err := f.spec(fs.Args())
	if err != nil {
		return err
	}
	return writeImage(*out, spec)
}

// runGitserverImage packs what cmd/gitserver starts: git, which has upload-pack
// and receive-pack built in, and git-http-backend, which starts git from PATH.
// No shell takes part as long as repositories have no hooks.
func runGitserverImage(_ context.Context, fs *flag.FlagSet, args []string) error {
	var src source
	src.flags(fs)
	out := fs.String("out", "", "file to write (required)")
	ref := fs.String("ref", "cairn.local/gitserver:dev", "reference of the image")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if err := src.resolve(); err != nil {
		return err
	}
	git, err := exec.LookPath("git")
	if err != nil {
		return fmt.Errorf("find git (Debian package git): %w", err)
	}
	execPath, err := exec.Command(git, "--exec-path").Output()
	if err != nil {
		return fmt.Errorf("ask git where its programs are: %w", err)
	}
	backend := filepath.Join(strings.TrimSpace(string(execPath)), "git-http-backend")
	f := imageFlags{
		ref: *ref, user: fmt.Sprintf("%d:%d", image.NonRoot, image.NonRoot),
		programs: list{git + ":/usr/bin/git", backend},
	}
	spec, err := f.spec([]string{filepath.Join(src.bin, "gitserver") + ":/gitserver"})
	if err != nil {
		return err
	}
	return writeImage(*out, spec)
}

func writeImage(out string, spec image.Spec) error {
	if out == "" {
		return errors.New("write the image: --out is required")
	}
	noteMissingCA()
	f, err := os.Create(out)
	if err != nil {
		return fmt.Errorf("create the image's file: %w", err)
	}
	if err := errors.Join(image.Write(f, spec), f.Close()); err != nil {
		return errors.Join(err, os.Remove(out)) // half an archive helps nobody
	}
	return nil
}

// noteMissingCA says what an image made on this machine cannot do.
func noteMissingCA() {
	if _, err := os.Stat(image.CAFile); err != nil {
		fmt.Fprintf(os.Stderr,
			"note: %s is missing (Debian package ca-certificates): programs in the image will trust no public server\n",
			image.CAFile)
	}
}

func runLoadImage(_ context.Context, fs *flag.FlagSet, args []string) error {
	c, err := load(fs, args)
	if err != nil {
		return err
	}
	if fs.NArg() == 0 {
		return errors.New("import images: no archive is given")
	}
	return c.LoadArchives(fs.Args()...)
}

func runLoadBinary(_ context.Context, fs *flag.FlagSet, args []string) error {
	var f imageFlags
	f.flags(fs)
	c, err := load(fs, args)
	if err != nil {
		return err
	}
	spec, err := f.spec(fs.Args())
	if err != nil {
		return err
	}
	noteMissingCA()
	return c.LoadImage(spec)
}
