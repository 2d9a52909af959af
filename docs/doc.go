// Package docs holds the documentation. Its test checks that the pages name paths that exist.
package docs
