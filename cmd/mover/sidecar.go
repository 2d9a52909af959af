package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/transport"

	"github.com/cairn-backup/cairn/internal/mover"
	"github.com/cairn-backup/cairn/internal/mover/agent"
	"github.com/cairn-backup/cairn/internal/sidecar"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/version"
)

// keysTimeout is longer than a kubelet takes to bring a changed Secret into a pod: its sync period plus the time for
// which it caches Secrets.
const keysTimeout = 3 * time.Minute

// stopTimeout is longer than a mover takes to leave the repository in order.
const stopTimeout = time.Minute

// runSidecar runs a sidecar: it does what is assigned to its pod until ctx ends.
func runSidecar(ctx context.Context, args []string, log *slog.Logger, stderr io.Writer) int {
	s := agent.Sidecar{
		Namespace: os.Getenv(sidecar.EnvPodNamespace), PodUID: types.UID(os.Getenv(sidecar.EnvPodUID)),
		Mover: *newMover(log), Log: log, WaitForKeys: keysTimeout, WaitForStop: stopTimeout,
		SecretDir: sidecar.SecretDir, VolumesDir: sidecar.VolumesDir, RestoreDir: sidecar.RestoreDir,
		Flags: func(kind task.Kind, args []string) (mover.Flags, error) { return arguments(kind, args, io.Discard) },
	}
	flags := flag.NewFlagSet(sidecar.Subcommand, flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&s.ID, "id", "", "name of the sidecar, which labels the objects that it works on")
	flags.StringVar(&s.Mover.Root, "root", "", "directory below which all paths lie, for a sidecar outside a container")
	if err := parse(flags, args); err != nil {
		log.Error("refused", "error", err)
		return task.ExitInvalidTask
	}
	if s.ID == "" || s.Namespace == "" || s.PodUID == "" {
		log.Error("refused", "error", fmt.Sprintf("--id and the environment variables %s and %s are required",
			sidecar.EnvPodNamespace, sidecar.EnvPodUID))
		return task.ExitInvalidTask
	}
	limitMemory(log)
	secret := filepath.Join(s.Mover.Root, s.SecretDir)
	if !waitForToken(ctx, secret, log) {
		return task.ExitSucceeded
	}
	var err error
	if s.Client, s.Metadata, err = connectWithSidecarToken(secret); err != nil {
		log.Error("connect", "error", err)
		return task.ExitFailed
	}
	if err := s.Run(ctx); err != nil {
		return task.ExitFailed
	}
	return task.ExitSucceeded
}

// waitForToken waits until the Secret exists, because no pod of a workload waits for Cairn. It returns false if ctx
// ended.
func waitForToken(ctx context.Context, secret string, log *slog.Logger) bool {
	for first := true; ; first = false {
		missing := ""
		for _, key := range []string{sidecar.KeyToken, sidecar.KeyCA} {
			if _, err := os.Stat(filepath.Join(secret, key)); err != nil {
				missing = key
			}
		}
		if missing == "" {
			return true
		}
		if first {
			log.Info("waiting for the sidecar's Secret", "missing", missing)
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(5 * time.Second):
		}
	}
}

// connectWithSidecarToken connects with the token of the sidecar's Secret. Token and certificate authority are read
// again when they change. The workload's own account is never used.
func connectWithSidecarToken(dir string) (dynamic.Interface, metadata.Interface, error) {
	host, port := os.Getenv("KUBERNETES_SERVICE_HOST"), os.Getenv("KUBERNETES_SERVICE_PORT")
	if host == "" || port == "" {
		return nil, nil,
			errors.New("find the API server: the pod has no KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT")
	}
	// Unlike rest.Config.BearerTokenFile, this reads the file at once when the API server no longer accepts the
	// token.
	source := transport.NewCachedFileTokenSource(filepath.Join(dir, sidecar.KeyToken))
	config := &rest.Config{
		Host:            "https://" + net.JoinHostPort(host, port),
		WrapTransport:   transport.ResettableTokenSourceWrapTransport(source),
		TLSClientConfig: rest.TLSClientConfig{CAFile: filepath.Join(dir, sidecar.KeyCA)},
		UserAgent:       "cairn-" + sidecar.Subcommand + "/" + strings.TrimSpace(version.Version),
	}
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, nil, fmt.Errorf("connect to the API server: %w", err)
	}
	watcher, err := metadata.NewForConfig(config)
	if err != nil {
		return nil, nil, fmt.Errorf("connect to the API server: %w", err)
	}
	return client, watcher, nil
}
