//go:build !cgo

package cage

const cgo = false
