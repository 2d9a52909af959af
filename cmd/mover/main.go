// Command mover runs in the pods of Cairn's Jobs and CronJobs. Package task defines its exit codes.
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

	"github.com/cairn-backup/cairn/internal/catalog"
	"github.com/cairn-backup/cairn/internal/mover"
	"github.com/cairn-backup/cairn/internal/mover/install"
	"github.com/cairn-backup/cairn/internal/mover/report"
	"github.com/cairn-backup/cairn/internal/mover/trigger"
	"github.com/cairn-backup/cairn/internal/program"
	"github.com/cairn-backup/cairn/internal/repository"
	"github.com/cairn-backup/cairn/internal/repository/kopia"
	"github.com/cairn-backup/cairn/internal/repository/memlimit"
	"github.com/cairn-backup/cairn/internal/schedule"
	"github.com/cairn-backup/cairn/internal/sidecar"
	"github.com/cairn-backup/cairn/internal/task"
	"github.com/cairn-backup/cairn/internal/version"
)

const usage = `mover does the work of one Cairn Job, or of a sidecar. The manager starts it; do not start it by hand.

  mover init-storage | init-repository
  mover backup [--exclude=PATTERN,...] [--full-read-every=DURATION [--ignore-inode]]
               [--cache] [--scratch-dir=DIRECTORY]
  mover restore [--set-id] [--devices] [--include=PATTERN,...] [--exclude=PATTERN,...]
                [--cache] [--scratch-dir=DIRECTORY]
  mover restore --unpack=DIRECTORY [--cache] [--scratch-dir=DIRECTORY]
  mover volume-snapshot [--wait-timeout=DURATION]
  mover volume-restore [--wait-timeout=DURATION] [--bind=BOOLEAN]
  mover volume-mount
  mover keep
  mover install DIRECTORY
  mover programs SOCKET
  mover sidecar --id=NAME [--root=DIRECTORY]
  mover trigger --invoker-kind=KIND --invoker=NAME --session=NAME --cronjob=NAME
  mover version
`

// defaultWait bounds the wait for objects that others make in the cluster.
const defaultWait = 10 * time.Minute

// sharedUmask gives the group of a local storage, which all movers share, read and write access to what each mover
// writes.
const sharedUmask = 0o007

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	syscall.Umask(sharedUmask)
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
		return runInstall(args[1:], log, stderr)
	case "programs":
		return runPrograms(ctx, args[1:], log, stderr)
	case "trigger":
		return runTrigger(ctx, args[1:], log, stderr)
	case string(task.KindInitStorage), string(task.KindInitRepository), string(task.KindBackup),
		string(task.KindRestore),
		string(task.KindKeep), string(task.KindVolumeSnapshot),
		string(task.KindVolumeRestore), string(task.KindVolumeMount):
		return runTask(ctx, task.Kind(kind), args[1:], log, stderr)
	case sidecar.Subcommand:
		return runSidecar(ctx, args[1:], log, stderr)
	case "help", "-h", "--help":
		fmt.Fprint(stdout, usage)
		return task.ExitSucceeded
	default:
		fmt.Fprintf(stderr, "mover: unknown subcommand %q\n%s", kind, usage)
		return task.ExitInvalidTask
	}
}

// runInstall copies this program to where the container of a database's image finds it.
func runInstall(args []string, log *slog.Logger, stderr io.Writer) int {
	if len(args) != 1 {
		fmt.Fprintf(stderr, "mover: install needs one directory\n%s", usage)
		return task.ExitInvalidTask
	}
	if err := install.Install(args[0]); err != nil {
		log.Error("install", "error", err)
		return task.ExitFailed
	}
	log.Info("installed", "directory", args[0])
	return task.ExitSucceeded
}

// runPrograms runs the programs of a database's image for the mover in another container, until it is told to stop.
func runPrograms(ctx context.Context, args []string, log *slog.Logger, stderr io.Writer) int {
	if len(args) != 1 {
		fmt.Fprintf(stderr, "mover: programs needs one socket\n%s", usage)
		return task.ExitInvalidTask
	}
	s, err := program.Listen(args[0], log)
	if err == nil {
		err = s.Serve(ctx)
	}
	if err != nil {
		log.Error("programs", "error", err)
		return task.ExitFailed
	}
	return task.ExitSucceeded
}

// runTask does the task of a Job.
func runTask(ctx context.Context, kind task.Kind, args []string, log *slog.Logger, stderr io.Writer) int {
	m := newMover(log)
	m.TerminationPath = corev1.TerminationMessagePathDefault
	asked, err := arguments(kind, args, stderr)
	if err != nil {
		return m.Refuse(err)
	}
	limitMemory(log)
	if kind == task.KindBackup || kind == task.KindRestore || kind == task.KindVolumeSnapshot ||
		kind == task.KindVolumeRestore || kind == task.KindKeep {
		client, namespace, err := inCluster()
		if err != nil {
			return m.Refuse(err)
		}
		m.Status = report.APIStatus{Client: client, Namespace: namespace}
		m.Client, m.Job = client, os.Getenv(task.EnvJob)
	}
	return m.Run(ctx, kind, asked)
}

func newMover(log *slog.Logger) *mover.Mover {
	return &mover.Mover{Driver: kopia.Driver{}, Now: time.Now, Log: log, Privileged: os.Geteuid() == 0}
}

// limitMemory sets the soft memory limit, so that the garbage collector works harder before the kernel kills the
// process.
func limitMemory(log *slog.Logger) {
	if limit, err := memlimit.Set(); err != nil {
		log.Warn("set memory limit", "error", err)
	} else if limit > 0 {
		log.Info("memory limit", "bytes", limit)
	}
}

// arguments parses the arguments of a subcommand that moves data.
func arguments(kind task.Kind, args []string, stderr io.Writer) (mover.Flags, error) {
	flags := flag.NewFlagSet(string(kind), flag.ContinueOnError)
	flags.SetOutput(stderr)
	var asked mover.Flags
	var exclude, include, fullReadEvery string
	switch kind {
	case task.KindBackup:
		cacheFlags(flags, &asked)
		flags.StringVar(&exclude, "exclude", "",
			"leave out what matches these comma-separated patterns")
		flags.StringVar(&fullReadEvery, "full-read-every", "",
			"read every file, changed or not, if the last time was as long ago, for example 168h; empty means never")
		flags.BoolVar(&asked.IgnoreInode, "ignore-inode", false,
			"take a file for unchanged also if its ctime and inode differ from those of the last backup")
	case task.KindVolumeSnapshot:
		flags.DurationVar(&asked.WaitTimeout, "wait-timeout", defaultWait,
			"how long to wait until the VolumeSnapshots are ready to use")
	case task.KindVolumeRestore:
		flags.DurationVar(&asked.WaitTimeout, "wait-timeout", defaultWait, "how long to wait for the volumes")
		// Only the manager reads this flag: the task says which claims are awaited, and the manager mounts the
		// others.
		flags.Bool("bind", true,
			"whether the restore starts a pod for claims whose volumes wait for their first consumer")
	case task.KindRestore:
		cacheFlags(flags, &asked)
		flags.StringVar(&include, "include", "",
			"restore only what matches these comma-separated patterns")
		flags.StringVar(&exclude, "exclude", "",
			"leave out what matches these comma-separated patterns")
		flags.BoolVar(&asked.SetID, "set-id", false,
			"restore set-user-ID and set-group-ID bits and capabilities of files")
		flags.BoolVar(&asked.Devices, "devices", false, "restore devices")
		flags.StringVar(&asked.Unpack, "unpack", "",
			"directory inside the volume into which a tar archive written by a program is unpacked")
	}
	err := parse(flags, args)
	if err == nil && (kind == task.KindVolumeSnapshot || kind == task.KindVolumeRestore) && asked.WaitTimeout <= 0 {
		err = fmt.Errorf("invalid --wait-timeout %s: it must be longer than zero", asked.WaitTimeout)
	}
	if err == nil {
		if asked.FullReadEvery, err = catalog.FullReadEvery(fullReadEvery, asked.IgnoreInode); err != nil {
			err = fmt.Errorf("invalid --full-read-every: %w", err)
		}
	}
	asked.Exclude, asked.Include = split(exclude), split(include)
	for name, patterns := range map[string][]string{"exclude": asked.Exclude, "include": asked.Include} {
		if bad := repository.CheckPatterns(patterns); err == nil && bad != nil {
			err = fmt.Errorf("invalid --%s: %w", name, bad)
		}
	}
	return asked, err
}

// cacheFlags adds the flags that control the repository's cache on disk.
func cacheFlags(flags *flag.FlagSet, asked *mover.Flags) {
	flags.BoolVar(&asked.Cache, "cache", false, "cache on disk what is read from the repository")
	flags.StringVar(&asked.ScratchDir, "scratch-dir", task.WorkDir, "directory of the cache")
}

// runTrigger creates the BackupSession of a CronJob's slot.
func runTrigger(ctx context.Context, args []string, log *slog.Logger, stderr io.Writer) int {
	t := trigger.Trigger{
		Now: time.Now, Namespace: os.Getenv(schedule.EnvPodNamespace), Job: os.Getenv(schedule.EnvJobName),
	}
	flags := flag.NewFlagSet("trigger", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&t.InvokerKind, "invoker-kind", "", "BackupConfiguration or BackupBatch")
	flags.StringVar(&t.Invoker, "invoker", "", "name of the invoker")
	flags.StringVar(&t.Session, "session", "", "name of the session")
	flags.StringVar(&t.CronJob, "cronjob", "", "name of the CronJob that this pod belongs to")
	flags.IntVar(&t.Retries, "retries", 0, "how often failed targets are tried again")
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
		return fmt.Errorf("parse arguments: %w", err)
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	return nil
}

// split splits a comma-separated list and drops empty parts.
func split(list string) []string {
	var out []string
	for part := range strings.SplitSeq(list, ",") {
		if part = strings.TrimSpace(part); part != "" {
			out = append(out, part)
		}
	}
	return out
}

// namespaceFile holds the pod's namespace.
const namespaceFile = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"

// inCluster connects with the pod's own token.
func inCluster() (dynamic.Interface, string, error) {
	config, err := rest.InClusterConfig()
	if err != nil {
		return nil, "", fmt.Errorf("find the API server: %w", err)
	}
	config.UserAgent = "cairn-mover/" + version.Version
	config.Timeout = 30 * time.Second
	config.QPS, config.Burst = 50, 100 // a run of many volumes asks for all of them at once
	namespace, err := os.ReadFile(namespaceFile)
	if err != nil {
		return nil, "", errors.New("find the namespace: the pod has no service account token")
	}
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, "", fmt.Errorf("connect to the API server: %w", err)
	}
	return client, strings.TrimSpace(string(namespace)), nil
}
