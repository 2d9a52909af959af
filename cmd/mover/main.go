// Command mover runs in the pods of Cairn's Jobs and CronJobs. Its exit codes are those of package task.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/cairn-backup/cairn/internal/mover"
	"github.com/cairn-backup/cairn/internal/repository/kopia"
	"github.com/cairn-backup/cairn/internal/repository/memlimit"
	"github.com/cairn-backup/cairn/internal/schedule"
	"github.com/cairn-backup/cairn/internal/sidecar"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/version"
)

const usage = `mover does the work of one Cairn Job, or of a sidecar. It is started by the manager, not by hand.

  mover init-storage | init-repository | backup [--exclude=PATTERN,...] [--cache] [--scratch-dir=DIRECTORY]
  mover restore [--set-id] [--devices] [--include=PATTERN,...] [--exclude=PATTERN,...] [--cache] [--scratch-dir=DIRECTORY]
  mover restore --unpack=DIRECTORY [--cache] [--scratch-dir=DIRECTORY]
  mover volume-snapshot [--wait-timeout=DURATION]
  mover volume-restore [--wait-timeout=DURATION] [--bind=BOOLEAN]
  mover volume-mount
  mover keep
  mover install DIRECTORY
  mover sidecar --id=NAME [--root=DIRECTORY]
  mover trigger --invoker-kind=KIND --invoker=NAME --session=NAME --cronjob=NAME
  mover version
`

// defaultWait is how long what is made in the cluster may take.
const defaultWait = 10 * time.Minute

// sharedUmask lets the group of a local storage, which all movers are in, read and write what each of them writes.
const sharedUmask = 0o007

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	syscall.Umask(sharedUmask)
	mover.TrustInstalled()
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	log := slog.New(slog.NewJSONHandler(stdout, nil))
	if len(args) == 0 {
		fmt.Fprint(stderr, usage)
		return task.ExitInvalidTask
	}
	switch kind := args[0]; kind {
	case "version":
		fmt.Fprintln(stdout, version.Version)
		return task.ExitSucceeded
	case "install":
		return install(args[1:], log, stderr)
	case "trigger":
		return trigger(ctx, args[1:], log, stderr)
	case string(task.KindInitStorage), string(task.KindInitRepository), string(task.KindBackup), string(task.KindRestore), string(task.KindKeep), string(task.KindVolumeSnapshot),
		string(task.KindVolumeRestore), string(task.KindVolumeMount):
		return move(ctx, task.Kind(kind), args[1:], log, stderr)
	case sidecar.Subcommand:
		return live(ctx, args[1:], log, stderr)
	case "help", "-h", "--help":
		fmt.Fprint(stdout, usage)
		return task.ExitSucceeded
	default:
		fmt.Fprintf(stderr, "mover: there is no subcommand %q\n%s", kind, usage)
		return task.ExitInvalidTask
	}
}

// install copies this program to where the program of a stream runs.
func install(args []string, log *slog.Logger, stderr io.Writer) int {
	if len(args) != 1 {
		fmt.Fprintf(stderr, "mover: install needs one directory\n%s", usage)
		return task.ExitInvalidTask
	}
	if err := mover.Install(args[0]); err != nil {
		log.Error("install", "error", err)
		return task.ExitFailed
	}
	log.Info("installed", "directory", args[0])
	return task.ExitSucceeded
}

// move does the task of a Job.
func move(ctx context.Context, kind task.Kind, args []string, log *slog.Logger, stderr io.Writer) int {
	m := newMover(log)
	m.TerminationPath = corev1.TerminationMessagePathDefault
	asked, err := arguments(kind, args, stderr)
	if err != nil {
		return m.Refuse(err)
	}
	limitMemory(log)
	if kind == task.KindBackup || kind == task.KindRestore || kind == task.KindVolumeSnapshot || kind == task.KindVolumeRestore {
		client, namespace, err := inCluster()
		if err != nil {
			return m.Refuse(err)
		}
		m.Status = mover.APIStatus{Client: client, Namespace: namespace}
		m.Client, m.Job = client, os.Getenv(task.EnvJob)
	}
	return m.Run(ctx, kind, asked)
}

func newMover(log *slog.Logger) *mover.Mover {
	return &mover.Mover{Driver: kopia.Driver{}, Now: time.Now, Log: log, Privileged: os.Geteuid() == 0}
}

// limitMemory has the garbage collector work harder before the kernel kills the process.
func limitMemory(log *slog.Logger) {
	if limit, err := memlimit.Set(); err != nil {
		log.Warn("set memory limit", "error", err)
	} else if limit > 0 {
		log.Info("memory limit", "bytes", limit)
	}
}

// arguments reads those of a subcommand that moves data.
func arguments(kind task.Kind, args []string, stderr io.Writer) (mover.Flags, error) {
	flags := flag.NewFlagSet(string(kind), flag.ContinueOnError)
	flags.SetOutput(stderr)
	var asked mover.Flags
	var exclude, include string
	switch kind {
	case task.KindBackup:
		cacheFlags(flags, &asked)
		flags.StringVar(&exclude, "exclude", "", "comma-separated patterns, as in a .gitignore file, of what is left out")
	case task.KindVolumeSnapshot:
		flags.DurationVar(&asked.WaitTimeout, "wait-timeout", defaultWait, "how long the VolumeSnapshots may take until they can be used")
	case task.KindVolumeRestore:
		flags.DurationVar(&asked.WaitTimeout, "wait-timeout", defaultWait, "how long the volumes may take")
		// The manager has read this: it says in the task which claims are waited for, and mounts the others.
		flags.Bool("bind", true, "whether claims whose volume waits for a pod get one in the restore")
	case task.KindRestore:
		cacheFlags(flags, &asked)
		flags.StringVar(&include, "include", "", "comma-separated patterns, as in a .gitignore file, of what is restored alone")
		flags.StringVar(&exclude, "exclude", "", "comma-separated patterns, as in a .gitignore file, of what is not restored")
		flags.BoolVar(&asked.SetID, "set-id", false, "give back set-user-ID and set-group-ID bits of files, and file capabilities")
		flags.BoolVar(&asked.Devices, "devices", false, "make devices")
		flags.StringVar(&asked.Unpack, "unpack", "", "directory inside the volume into which the tar archive that a program wrote is unpacked")
	}
	err := parse(flags, args)
	if err == nil && (kind == task.KindVolumeSnapshot || kind == task.KindVolumeRestore) && asked.WaitTimeout <= 0 {
		err = fmt.Errorf("read arguments: --wait-timeout is %s: it must be longer than nothing", asked.WaitTimeout)
	}
	asked.Exclude, asked.Include = split(exclude), split(include)
	return asked, err
}

// cacheFlags are those that say where a repository is kept on disk.
func cacheFlags(flags *flag.FlagSet, asked *mover.Flags) {
	flags.BoolVar(&asked.Cache, "cache", false, "keep what is read of the repository on disk too")
	flags.StringVar(&asked.ScratchDir, "scratch-dir", task.WorkDir, "directory where that lies")
}

// trigger creates the BackupSession of a CronJob's slot.
func trigger(ctx context.Context, args []string, log *slog.Logger, stderr io.Writer) int {
	t := mover.Trigger{Now: time.Now, Namespace: os.Getenv(schedule.EnvPodNamespace), Job: os.Getenv(schedule.EnvJobName)}
	flags := flag.NewFlagSet("trigger", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&t.InvokerKind, "invoker-kind", "", "BackupConfiguration or BackupBatch")
	flags.StringVar(&t.Invoker, "invoker", "", "name of the invoker")
	flags.StringVar(&t.Session, "session", "", "name of the session")
	flags.StringVar(&t.CronJob, "cronjob", "", "name of the CronJob that this pod belongs to")
	flags.IntVar(&t.Retries, "retries", 0, "how often what failed is tried again")
	if err := parse(flags, args); err != nil {
		log.Error("refused", "error", err)
		return task.ExitInvalidTask
	}
	client, _, err := inCluster()
	if err != nil {
		log.Error("connect", "error", err)
		return task.ExitFailed
	}
	t.Client = client
	name, err := t.Run(ctx)
	if err != nil {
		log.Error("trigger", "error", err)
		return task.ExitFailed
	}
	log.Info("created", "backupSession", name)
	return task.ExitSucceeded
}

func parse(flags *flag.FlagSet, args []string) error {
	if err := flags.Parse(args); err != nil {
		return fmt.Errorf("read arguments: %w", err)
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("read arguments: %q is none", flags.Arg(0))
	}
	return nil
}

// split reads a comma-separated list; empty parts are left out.
func split(list string) []string {
	var out []string
	for part := range strings.SplitSeq(list, ",") {
		if part = strings.TrimSpace(part); part != "" {
			out = append(out, part)
		}
	}
	return out
}

// namespaceFile is where a pod finds its namespace.
const namespaceFile = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"

// inCluster connects with the pod's own token.
func inCluster() (dynamic.Interface, string, error) {
	config, err := rest.InClusterConfig()
	if err != nil {
		return nil, "", fmt.Errorf("find API server: %w", err)
	}
	config.UserAgent = "cairn-mover/" + version.Version
	config.Timeout = 30 * time.Second
	config.QPS, config.Burst = 50, 100 // a session of many volumes asks for all of them at once
	namespace, err := os.ReadFile(namespaceFile)
	if err != nil {
		return nil, "", errors.New("find namespace: the pod has no service account token")
	}
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, "", fmt.Errorf("connect to API server: %w", err)
	}
	return client, strings.TrimSpace(string(namespace)), nil
}
