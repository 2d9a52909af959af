package ledger

import (
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/cairn-backup/cairn/api/v1alpha1"
)

var (
	restConfig *rest.Config
	scheme     = runtime.NewScheme()
	api        client.WithWatch
)

func TestMain(m *testing.M) {
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
	_ = flag.Set("test.parallel", "8") // the default of -parallel: most of a test is waiting for git and the API server
	flag.Parse()
	for k, v := range map[string]string{
		"GIT_CONFIG_GLOBAL": os.DevNull, "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0",
		"GIT_AUTHOR_NAME": "t", "GIT_AUTHOR_EMAIL": "t@t", "GIT_COMMITTER_NAME": "t", "GIT_COMMITTER_EMAIL": "t@t",
		// The server does no housekeeping during a push.
		"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "receive.autogc", "GIT_CONFIG_VALUE_0": "false",
		"TMPDIR": tempDir(),
	} {
		if err := os.Setenv(k, v); err != nil {
			return 1, err
		}
	}
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			return 1, err
		}
	}
	env := &envtest.Environment{
		CRDDirectoryPaths:        []string{filepath.Join("..", "..", "config", "crd", "bases")},
		ErrorIfCRDPathMissing:    true,
		ControlPlaneStartTimeout: time.Minute,
		ControlPlaneStopTimeout:  time.Minute,
	}
	if restConfig, err = env.Start(); err != nil {
		return 1, err
	}
	restConfig.QPS, restConfig.Burst = 500, 1000
	defer func() {
		if stop := env.Stop(); err == nil {
			err = stop
		}
	}()
	if api, err = client.NewWithWatch(restConfig, client.Options{Scheme: scheme}); err != nil {
		return 1, err
	}
	return m.Run(), nil
}

// tempDir is in memory if there is room: Git servers, stores and etcd create and delete thousands of small files.
func tempDir() string {
	const shm, room = "/dev/shm", 1 << 30
	var fs syscall.Statfs_t
	if os.Getenv("TMPDIR") != "" || syscall.Statfs(shm, &fs) != nil || uint64(fs.Bavail)*uint64(fs.Bsize) < room {
		return os.TempDir()
	}
	return shm
}
