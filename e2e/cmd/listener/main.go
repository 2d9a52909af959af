// Command listener stands for a service that hooks send requests to. It writes each request to its standard output, as
// a line of JSON, and answers with the status that the request asks for with the parameter "answer".
package main

import (
	"encoding/json"
	"flag"
	"io"
	"log"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"
)

// maxBody is how much of a request is read.
const maxBody = 1 << 20

// request is a line of the output.
type request struct {
	Method        string `json:"method"`
	Path          string `json:"path"`
	Type          string `json:"type,omitempty"`
	Authorization string `json:"authorization,omitempty"`
	Body          string `json:"body,omitempty"`
}

func main() {
	addr := flag.String("http", ":8080", "address to listen at")
	flag.Parse()
	server := &http.Server{Addr: *addr, Handler: newHandler(os.Stdout), ReadHeaderTimeout: 10 * time.Second}
	log.Fatalln("listener:", server.ListenAndServe())
}

// newHandler returns a handler that writes each request to out.
func newHandler(out io.Writer) http.Handler {
	lines := json.NewEncoder(out)
	lines.SetEscapeHTML(false)
	var mu sync.Mutex
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		mu.Lock()
		err = lines.Encode(request{
			Method: r.Method, Path: r.URL.Path, Type: r.Header.Get("Content-Type"),
			Authorization: r.Header.Get("Authorization"), Body: string(body),
		})
		mu.Unlock()
		answer, wrong := strconv.Atoi(r.URL.Query().Get("answer"))
		switch {
		case err != nil:
			http.Error(w, err.Error(), http.StatusInternalServerError)
		case wrong == nil && answer >= 200 && answer <= 599:
			w.WriteHeader(answer)
		}
	})
}
