package gitserver

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/cgi"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// HTTP serves the smart HTTP protocol through "git http-backend", and /healthz.
type HTTP struct {
	Repositories *Repositories
	// UsernameFile and PasswordFile hold the one user's credentials, as a mounted
	// Secret of type kubernetes.io/basic-auth does. They are read on every
	// request, so that they can be changed. A final newline does not count.
	UsernameFile, PasswordFile string
	PublicRead                 bool // repositories below public/ are read without credentials
	Log                        *log.Logger
}

// The three requests of the protocol, by the end of their paths.
var operations = []string{"/info/refs", "/git-upload-pack", "/git-receive-pack"}

// ServeHTTP implements http.Handler.
func (s *HTTP) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/healthz" {
		fmt.Fprintln(w, "ok")
		return
	}
	asked, operation := split(r.URL.Path)
	if operation == "" {
		http.NotFound(w, r)
		return
	}
	service := strings.TrimPrefix(operation, "/")
	if operation == "/info/refs" {
		service = r.URL.Query().Get("service")
	}
	if service != "git-upload-pack" && service != "git-receive-pack" {
		http.Error(w, "only the smart protocol is served", http.StatusForbidden)
		return
	}
	push := service == "git-receive-pack"
	name, err := s.Repositories.name(asked)
	// Ask for credentials before telling whether anything exists.
	anonymous := err == nil && s.PublicRead && !push && strings.HasPrefix(name, "public/")
	user, ok := s.authenticate(r)
	if !anonymous && !ok {
		w.Header().Set("WWW-Authenticate", `Basic realm="git"`)
		http.Error(w, "credentials are required", http.StatusUnauthorized)
		return
	}
	if err == nil {
		_, err = s.Repositories.find(r.Context(), name, push)
	}
	switch {
	case errors.Is(err, errNoRepository):
		http.Error(w, err.Error(), http.StatusNotFound)
	case err != nil:
		s.Log.Printf("serve %s: %v", r.URL.Path, err)
		http.Error(w, "the repository cannot be opened", http.StatusInternalServerError)
	default:
		s.backend(w, r, "/"+name+operation, user)
	}
}

func split(path string) (repository, operation string) {
	for _, o := range operations {
		if repository, ok := strings.CutSuffix(path, o); ok {
			return repository, o
		}
	}
	return "", ""
}

// authenticate returns the user's name if the request has the credentials.
func (s *HTTP) authenticate(r *http.Request) (string, bool) {
	user, password, ok := r.BasicAuth()
	if !ok || s.UsernameFile == "" || s.PasswordFile == "" {
		return "", false
	}
	for file, got := range map[string]string{s.UsernameFile: user, s.PasswordFile: password} {
		b, err := os.ReadFile(file)
		if err != nil {
			s.Log.Printf("read credentials: %v", err)
			return "", false
		}
		// The digests are equally long, so that the time tells nothing.
		want := sha256.Sum256([]byte(strings.TrimRight(string(b), "\r\n")))
		have := sha256.Sum256([]byte(got))
		if subtle.ConstantTimeCompare(want[:], have[:]) != 1 {
			ok = false
		}
	}
	return user, ok
}

// backend hands a request to git http-backend.
func (s *HTTP) backend(w http.ResponseWriter, r *http.Request, path, user string) {
	program, err := backendProgram()
	if err != nil {
		s.Log.Print(err)
		http.Error(w, "git cannot be run", http.StatusInternalServerError)
		return
	}
	env := append(environment(), "GIT_PROJECT_ROOT="+s.Repositories.Dir, "GIT_HTTP_EXPORT_ALL=1")
	if user != "" {
		env = append(env, "REMOTE_USER="+user)
	}
	if v := r.Header.Get("Git-Protocol"); v != "" {
		env = append(env, "GIT_PROTOCOL="+v)
	}
	r = r.Clone(r.Context())
	r.URL = &url.URL{Path: path, RawQuery: r.URL.RawQuery}
	// The credentials are checked; no other program has to see them.
	r.Header.Del("Authorization")
	if len(r.TransferEncoding) > 0 {
		// The package cgi refuses a body of unknown length. git reads to its end.
		r.TransferEncoding, r.ContentLength = nil, -1
	}
	(&cgi.Handler{Path: program, Dir: "/", Env: env, Logger: s.Log, Stderr: s.Log.Writer()}).ServeHTTP(w, r)
}

// backendProgram finds git-http-backend, which is not in PATH.
func backendProgram() (string, error) {
	cmd := exec.Command("git", "--exec-path")
	cmd.Env = environment()
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("ask git where its programs are: %w", err)
	}
	return filepath.Join(strings.TrimSpace(string(out)), "git-http-backend"), nil
}
