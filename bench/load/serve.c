/* The service: greets whoever comes, reads one letter, and does what it says. One process, one thread. */
#define _GNU_SOURCE
#include "load.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

struct visitor {
  int fd;
  char letter;     /* 0: it has not said one */
  int writable;    /* whether epoll tells when it may be written to */
  uint64_t unread; /* of a request that has not all come */
  uint64_t owed;   /* bytes of answers not yet written */
};

static int poller;
static uint64_t taken; /* bytes that came behind the letter U, of everybody */

static void watch(struct visitor *v, int writable) {
  if (v->writable == writable) return;
  struct epoll_event e = {.events = EPOLLIN | (writable ? EPOLLOUT : 0), .data.ptr = v};
  epoll_ctl(poller, EPOLL_CTL_MOD, v->fd, &e);
  v->writable = writable;
}

static void leave(struct visitor *v) {
  close(v->fd);
  free(v);
}

static void come(int listener) {
  int fd;
  while ((fd = accept(listener, NULL, NULL)) >= 0) {
    prepare(fd);
    struct visitor *v = calloc(1, sizeof *v);
    v->fd = fd;
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = v};
    epoll_ctl(poller, EPOLL_CTL_ADD, fd, &e);
    if (write(fd, GREETING, GREETING_SIZE) < 0) continue; /* epoll says that it has gone */
  }
}

/* Returns whether it is still there. */
static int give(struct visitor *v) {
  size_t size = v->letter == 'D' || v->owed > CHUNK ? CHUNK : v->owed;
  if (size > 0) {
    ssize_t n = write(v->fd, bytes, size);
    if (n < 0 && errno != EAGAIN) return 0;
    if (n > 0 && v->letter != 'D') v->owed -= n;
  }
  watch(v, v->letter == 'D' || v->owed > 0);
  return 1;
}

static int take(struct visitor *v) {
  ssize_t n = read(v->fd, sink, CHUNK);
  if (n < 0) return errno == EAGAIN;
  if (n == 0) return 0;
  if (v->letter == 0) {
    v->letter = sink[0];
    n--;
  }
  if (v->letter == 'U') taken += n;
  if (v->letter == 'E') v->owed += n;
  if (v->letter == 'R') {
    v->unread += n;
    v->owed += v->unread / REQUEST_SIZE * ANSWER_SIZE;
    v->unread %= REQUEST_SIZE;
  }
  return v->letter == 'D' || v->owed > 0 ? give(v) : 1;
}

static int listen_at(const char *address) {
  struct sockaddr_in at = {.sin_family = AF_INET};
  if (inet_pton(AF_INET, address, &at.sin_addr) != 1) die(address);
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  socklen_t size = sizeof at;
  if (fd < 0 || bind(fd, (struct sockaddr *)&at, size) < 0 || listen(fd, 4096) < 0) die("listen");
  prepare(fd);
  getsockname(fd, (struct sockaddr *)&at, &size);
  printf("%d\n", ntohs(at.sin_port));
  return fd;
}

int serve(const char *address) {
  int listener = listen_at(address);
  struct epoll_event told = {.events = EPOLLIN, .data.ptr = NULL}, here = {.events = EPOLLIN, .data.ptr = &listener};
  poller = epoll_create1(0);
  epoll_ctl(poller, EPOLL_CTL_ADD, 0, &told);
  epoll_ctl(poller, EPOLL_CTL_ADD, listener, &here);
  for (;;) {
    struct epoll_event events[256];
    int n = epoll_wait(poller, events, 256, -1);
    if (n < 0 && errno != EINTR) die("epoll");
    for (int at = 0; at < n; at++) {
      struct visitor *v = events[at].data.ptr;
      char line[64];
      if (v == NULL) {
        if (read(0, line, sizeof line) <= 0) return 0;
        printf("{\"taken\":%llu,\"at\":%.1f}\n", (unsigned long long)taken, now_us());
      } else if ((void *)v == &listener) {
        come(listener);
      } else {
        int there = 1;
        if (events[at].events & EPOLLOUT) there = give(v);
        if (there && events[at].events & ~EPOLLOUT) there = take(v);
        if (!there) leave(v);
      }
    }
  }
}
