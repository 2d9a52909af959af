package peers

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// What all of them use.
const (
	password  = "correct horse battery staple"
	accessKey = "benchkey"
	secretKey = "benchsecret"
	bucket    = "bench"
)

// tool is one of those that are compared. Each call is one or more processes from start to end.
type tool interface {
	init(ctx context.Context) error
	backup(ctx context.Context, tree string) (cost, error)
	// cold is a backup from a new machine: without what the tool kept on disk beside the repository.
	cold(ctx context.Context, tree string) (cost, error)
	restore(ctx context.Context, target string) (cost, error)
}

// cold for the mover is what it always is.
func (c *container) cold(ctx context.Context, tree string) (cost, error) { return c.backup(ctx, tree) }

// build builds a program from its module beside this package.
func build(b testing.TB, name string) string {
	b.Helper()
	dir := b.TempDir()
	cmd := exec.CommandContext(b.Context(), "go", "build", "-C", name, "-ldflags", "-s -w", "-o", dir+"/", "tool")
	cmd.Env = append(os.Environ(), "GOWORK=off", "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("build %s: %v: %s", name, err, out)
	}
	return filepath.Join(dir, name)
}

// kopiaTool is kopia's program with the compression that the mover uses.
type kopiaTool struct {
	bin, dir string
	s3       *s3Server
}

func (k *kopiaTool) run(ctx context.Context, args ...string) (cost, error) {
	return k.runFrom(ctx, nil, args...)
}

func (k *kopiaTool) runFrom(ctx context.Context, in *os.File, args ...string) (cost, error) {
	global := []string{
		"--config-file=" + filepath.Join(k.dir, "config"), "--log-dir=" + filepath.Join(k.dir, "log"),
		"--no-auto-maintenance",
	}
	env := []string{"KOPIA_PASSWORD=" + password, "KOPIA_CHECK_FOR_UPDATES=false", "HOME=" + k.dir}
	return runFrom(ctx, in, env, k.bin, append(global, args...)...)
}

func (k *kopiaTool) connect(ctx context.Context, verb string) (cost, error) {
	cache := "--cache-directory=" + filepath.Join(k.dir, "cache")
	if k.s3 != nil {
		return k.run(ctx, "repository", verb, "s3", "--bucket="+bucket, "--prefix=kopia/", "--endpoint="+k.s3.addr,
			"--disable-tls", "--access-key="+accessKey, "--secret-access-key="+secretKey, cache)
	}
	return k.run(ctx, "repository", verb, "filesystem", "--path="+filepath.Join(k.dir, "repository"), cache)
}

func (k *kopiaTool) init(ctx context.Context) error {
	if err := os.MkdirAll(filepath.Join(k.dir, "repository"), 0o755); err != nil {
		return err
	}
	if _, err := k.connect(ctx, "create"); err != nil {
		return err
	}
	_, err := k.run(ctx, "policy", "set", "--global", "--compression=zstd-fastest")
	return err
}

func (k *kopiaTool) backup(ctx context.Context, tree string) (cost, error) {
	return k.run(ctx, "snapshot", "create", "--no-progress", tree)
}

func (k *kopiaTool) cold(ctx context.Context, tree string) (cost, error) {
	if err := errors.Join(os.RemoveAll(filepath.Join(k.dir, "cache")),
		os.Remove(filepath.Join(k.dir, "config"))); err != nil {
		return cost{}, err
	}
	first, err := k.connect(ctx, "connect")
	if err != nil {
		return cost{}, err
	}
	second, err := k.backup(ctx, tree)
	return first.plus(second), err
}

func (k *kopiaTool) restore(ctx context.Context, target string) (cost, error) {
	cmd := exec.CommandContext(ctx, k.bin, "--config-file="+filepath.Join(k.dir, "config"),
		"--log-dir="+filepath.Join(k.dir, "log"), "snapshot", "list", "--json")
	cmd.Env = append(os.Environ(), "KOPIA_PASSWORD="+password, "KOPIA_CHECK_FOR_UPDATES=false", "HOME="+k.dir)
	out, err := cmd.Output()
	if err != nil {
		return cost{}, fmt.Errorf("list snapshots: %w", err)
	}
	var all []struct {
		ID string `json:"id"`
	}
	if err := json.Unmarshal(out, &all); err != nil || len(all) == 0 {
		return cost{}, fmt.Errorf("list snapshots: %w: %.200s", err, out)
	}
	return k.run(ctx, "snapshot", "restore", "--no-progress", all[len(all)-1].ID, target)
}

// resticTool is restic's program as it is.
type resticTool struct {
	bin, dir string
	s3       *s3Server
	tree     string // that was backed up
}

func (r *resticTool) place() string {
	if r.s3 != nil {
		return "s3:" + r.s3.url() + "/" + bucket + "/restic"
	}
	return filepath.Join(r.dir, "repository")
}

func (r *resticTool) run(ctx context.Context, args ...string) (cost, error) {
	env := []string{
		"RESTIC_PASSWORD=" + password, "AWS_ACCESS_KEY_ID=" + accessKey, "AWS_SECRET_ACCESS_KEY=" + secretKey,
		"HOME=" + r.dir,
	}
	return run(ctx, env, r.bin,
		append([]string{"-q", "-r", r.place(), "--cache-dir", filepath.Join(r.dir, "cache")}, args...)...)
}

func (r *resticTool) init(ctx context.Context) error {
	if err := os.MkdirAll(r.dir, 0o755); err != nil {
		return err
	}
	_, err := r.run(ctx, "init")
	return err
}

func (r *resticTool) backup(ctx context.Context, tree string) (cost, error) {
	r.tree = tree
	return r.run(ctx, "backup", tree)
}

func (r *resticTool) cold(ctx context.Context, tree string) (cost, error) {
	if err := os.RemoveAll(filepath.Join(r.dir, "cache")); err != nil {
		return cost{}, err
	}
	return r.backup(ctx, tree)
}

func (r *resticTool) restore(ctx context.Context, target string) (cost, error) {
	return r.run(ctx, "restore", "latest:"+r.tree, "--target", target)
}

// s3Server is a real one on this machine.
type s3Server struct{ addr string }

func (s *s3Server) url() string { return "http://" + s.addr }

// startS3 starts versitygw on a directory. It ends with stop, and with the benchmark.
func startS3(b testing.TB, dir string) (_ *s3Server, stop func()) {
	b.Helper()
	bin := os.Getenv("VERSITYGW")
	if bin == "" {
		bin = filepath.Join(os.Getenv("KUBEBUILDER_ASSETS"), "versitygw")
	}
	if _, err := os.Stat(bin); err != nil {
		b.Fatalf("no S3 server: set VERSITYGW, or run make bench: %v", err)
	}
	must(b, os.MkdirAll(filepath.Join(dir, bucket), 0o755))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(b, err)
	s := &s3Server{addr: l.Addr().String()}
	must(b, l.Close())
	cmd := exec.Command(bin, "-q", "--port", s.addr, "posix", dir)
	cmd.Env = append(os.Environ(), "ROOT_ACCESS_KEY="+accessKey, "ROOT_SECRET_KEY="+secretKey)
	var said bytes.Buffer
	cmd.Stderr = &said
	must(b, cmd.Start())
	stop = sync.OnceFunc(func() {
		_ = cmd.Process.Kill()
		err := cmd.Wait()
		if b.Failed() {
			b.Logf("the S3 server: %v: %s", err, said.Bytes()[max(0, said.Len()-8<<10):])
		}
	})
	b.Cleanup(stop)
	for range 600 {
		if c, err := net.Dial("tcp", s.addr); err == nil {
			must(b, c.Close())
			return s, stop
		}
		time.Sleep(100 * time.Millisecond)
	}
	b.Fatal("the S3 server does not listen")
	return nil, nil
}
