package ledger

import (
	"fmt"
	"io"
	"log"
	"os"
	"syscall"
	"testing"

	"github.com/cairn-backup/cairn/internal/testbed"
)

var bed testbed.Bed

func TestMain(m *testing.M) {
	log.SetOutput(io.Discard) // the Git server logs every request
	for k, v := range map[string]string{
		"GIT_CONFIG_GLOBAL": os.DevNull, "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0",
		"GIT_AUTHOR_NAME": "t", "GIT_AUTHOR_EMAIL": "t@t", "GIT_COMMITTER_NAME": "t", "GIT_COMMITTER_EMAIL": "t@t",
		// The server does no housekeeping during a push.
		"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "receive.autogc", "GIT_CONFIG_VALUE_0": "false",
		"TMPDIR": tempDir(),
	} {
		if err := os.Setenv(k, v); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(bed.Run(m, testbed.WithManifests("config/rbac/user_roles.yaml")))
}

// tempDir is in memory if there is room: Git servers, stores and etcd create and delete thousands of small files.
func tempDir() string {
	const shm, room = "/dev/shm", 1 << 30
	var fs syscall.Statfs_t
	if os.Getenv("TMPDIR") != "" || syscall.Statfs(shm, &fs) != nil || fs.Bavail*uint64(fs.Bsize) < room {
		return os.TempDir()
	}
	return shm
}
