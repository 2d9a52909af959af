package faults

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/go-logr/logr"
	ctrl "sigs.k8s.io/controller-runtime"
)

// The clusters of all scenarios: each API server runs one manager at a time.
var east, west cluster

// manager is the path of the program.
var manager string

func TestMain(m *testing.M) {
	if root := os.Getenv(envMoverRoot); root != "" {
		os.Exit(moverMain(root))
	}
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	log.SetOutput(io.Discard) // the Git server logs every request
	ctrl.SetLogger(logr.Discard())
	for k, v := range map[string]string{
		"GIT_CONFIG_GLOBAL": os.DevNull, "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0",
		"GIT_AUTHOR_NAME": "t", "GIT_AUTHOR_EMAIL": "t@t", "GIT_COMMITTER_NAME": "t", "GIT_COMMITTER_EMAIL": "t@t",
	} {
		if err := os.Setenv(k, v); err != nil {
			return 1, err
		}
	}
	dir, err := os.MkdirTemp("", "faults-")
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	defer func() { err = errors.Join(err, east.stop(), west.stop()) }()
	start = sync.OnceValue(func() error {
		return atOnce(
			func() error { return build(dir) },
			func() error { return east.start(context.Background()) },
			func() error { return west.start(context.Background()) },
		)
	})
	return m.Run(), nil
}

// start builds the manager and starts the clusters, once.
var start func() error

// begun starts what every scenario needs. They take minutes, so "make e2e" runs them and not "make test".
func begun(t *testing.T) {
	t.Helper()
	if os.Getenv("CAIRN_E2E") == "" {
		t.Skip("takes minutes: run it with \"make e2e\"")
	}
	if err := start(); err != nil {
		t.Fatal(err)
	}
}

// build makes the manager, unless CAIRN_BIN names a directory that has it.
func build(dir string) error {
	if bin := os.Getenv("CAIRN_BIN"); bin != "" {
		manager = filepath.Join(bin, "manager")
		return nil
	}
	manager = filepath.Join(dir, "manager")
	// With the flags of "go test", so that what that has compiled is not compiled again.
	cmd := exec.Command("go", "build", "-buildvcs=false", "-ldflags", "-s -w", "-o", manager, "./cmd/manager")
	cmd.Dir = filepath.Join("..", "..")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the manager: %w: %s", err, out)
	}
	return nil
}

func atOnce(do ...func() error) error {
	errs := make([]error, len(do))
	var wg sync.WaitGroup
	for i, f := range do {
		wg.Go(func() { errs[i] = f() })
	}
	wg.Wait()
	return errors.Join(errs...)
}
