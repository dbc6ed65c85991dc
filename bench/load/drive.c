/* The generator: reads "KIND ADDRESS PORT SECONDS PARALLEL", does that, and says how it went in one line of JSON. */
#define _GNU_SOURCE
#include "load.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define SECOND 1e6
/* Everything that was asked for is open by then, or it has failed. */
#define OPENING_US (60 * SECOND)
/* So long nothing at all happens, then it has failed. */
#define SILENCE_US (20 * SECOND)
/* Streams are under way this long, at most as long as it is counted, before what they carry is counted. */
#define SETTLE_US (0.3 * SECOND)
/* Connections that are made at the same time, where more than these are wanted. */
#define AT_ONCE 16
#define GAP_US 2000

enum phase { GREETING_PHASE, WORKING, CLOSING };

struct stream {
  int fd;
  enum phase phase;
  size_t greeted; /* bytes of the greeting so far */
  double began;   /* of the connection, or of the request under way */
  uint64_t count; /* bytes since counting began */
  size_t due;     /* bytes of the answer that are missing */
};

static struct {
  char kind[16];
  struct sockaddr_in to;
  double seconds;
  int parallel;
} work;

static int poller, made, open_now, ready, counting;
static double due_at; /* when the next ping goes out, or 0 */
static struct stream *streams;
static const char *failed;
static float *samples;
static size_t sampled, room;

static int is(const char *kind) { return strcmp(work.kind, kind) == 0; }
static int asks(void) { return is("request") || is("ping") || is("gap"); }
static int comes_and_goes(void) { return is("connect") || is("reach"); }

static void sample(double us) {
  if (sampled == room) samples = realloc(samples, (room = room ? room * 2 : 65536) * sizeof *samples);
  samples[sampled++] = us;
}

static void begin(struct stream *s) {
  memset(s, 0, sizeof *s);
  s->began = now_us();
  s->fd = socket(AF_INET, SOCK_STREAM, 0);
  if (s->fd < 0) die("socket");
  prepare(s->fd);
  made++;
  open_now++;
  struct epoll_event e = {.events = EPOLLIN, .data.ptr = s};
  epoll_ctl(poller, EPOLL_CTL_ADD, s->fd, &e);
  if (connect(s->fd, (struct sockaddr *)&work.to, sizeof work.to) < 0 && errno != EINPROGRESS) failed = "no connection";
}

static void say(struct stream *s, size_t size) {
  if (write(s->fd, bytes, size) != (ssize_t)size) failed = "a request was not taken";
}

static void ask(struct stream *s) {
  s->due = is("request") ? ANSWER_SIZE : PING_SIZE;
  s->began = now_us();
  say(s, is("request") ? REQUEST_SIZE : PING_SIZE);
}

static void greeted(struct stream *s) {
  char letter = is("up") ? 'U' : is("request") ? 'R' : is("ping") || is("gap") ? 'E' : is("hold") ? 'I' : 'D';
  ready++;
  if (comes_and_goes()) {
    s->phase = CLOSING;
    shutdown(s->fd, SHUT_WR);
    return;
  }
  s->phase = WORKING;
  if (write(s->fd, &letter, 1) != 1) failed = "the letter was not taken";
  struct epoll_event e = {.events = is("up") ? EPOLLIN | EPOLLOUT : EPOLLIN, .data.ptr = s};
  epoll_ctl(poller, is("stall") ? EPOLL_CTL_DEL : EPOLL_CTL_MOD, s->fd, &e);
  if (asks()) ask(s);
}

static void answered(struct stream *s, size_t n) {
  if (n > s->due) {
    failed = "more came than was asked for";
    return;
  }
  s->due -= n;
  if (s->due > 0) return;
  if (counting) sample(now_us() - s->began);
  if (is("gap")) due_at = now_us() + GAP_US;
  else ask(s);
}

static void hear(struct stream *s, double until) {
  ssize_t n = read(s->fd, sink, CHUNK);
  if (n < 0 && errno == EAGAIN) return;
  if (s->phase == CLOSING && n == 0) {
    close(s->fd);
    open_now--;
    if (now_us() < until) begin(s);
    else s->fd = -1;
    return;
  }
  if (n <= 0) {
    failed = n == 0 ? "ended early" : strerror(errno);
    return;
  }
  if (s->phase == GREETING_PHASE) {
    if (s->greeted == 0 && comes_and_goes()) sample(now_us() - s->began);
    s->greeted += n;
    if (s->greeted >= GREETING_SIZE) greeted(s);
    return;
  }
  if (asks()) answered(s, n);
  else s->count += n;
}

/* One turn of the loop. Returns whether anything happened. */
static int turn(double until, int wait_ms) {
  struct epoll_event events[256];
  int n = epoll_wait(poller, events, 256, wait_ms);
  for (int at = 0; at < n && !failed; at++) {
    struct stream *s = events[at].data.ptr;
    if (events[at].events & EPOLLOUT) {
      ssize_t sent = write(s->fd, bytes, CHUNK);
      if (sent < 0 && errno != EAGAIN) failed = strerror(errno);
    }
    if (events[at].events & ~EPOLLOUT) hear(s, until);
  }
  if (due_at > 0 && now_us() >= due_at) {
    due_at = 0;
    ask(&streams[0]);
  }
  return n > 0;
}

static void run_until(double until) {
  int may_be_silent = is("hold") || is("stall");
  double heard = now_us();
  while (!failed && now_us() < until) {
    double next = due_at > 0 && due_at < until ? due_at : until, left = (next - now_us()) / 1000;
    if (turn(until, left < 0 ? 0 : left > 100 ? 100 : (int)left + 1)) heard = now_us();
    if (!may_be_silent && now_us() - heard > SILENCE_US) failed = "nothing came";
  }
}

static int by_size(const void *a, const void *b) {
  float x = *(const float *)a, y = *(const float *)b;
  return (x > y) - (x < y);
}

static double share(double part) { return sampled ? samples[(size_t)((sampled - 1) * part)] : 0; }

static void report(double seconds) {
  uint64_t bytes_all = 0, least = UINT64_MAX, most = 0;
  for (int at = 0; at < work.parallel; at++) {
    uint64_t count = streams[at].count;
    bytes_all += count;
    if (count < least) least = count;
    if (count > most) most = count;
  }
  qsort(samples, sampled, sizeof *samples, by_size);
  if (failed) printf("{\"failed\":\"%s\"}\n", failed);
  else
    printf("{\"seconds\":%.6f,\"bytes\":%llu,\"least\":%llu,\"most\":%llu,\"count\":%zu,\"p50\":%.1f,\"p99\":%.1f}\n",
           seconds / SECOND, (unsigned long long)bytes_all, (unsigned long long)least, (unsigned long long)most, sampled,
           share(0.5), share(0.99));
}

/* Everything is opened, a few at a time. */
static void open_all(void) {
  double late = now_us() + OPENING_US;
  while (!failed && ready < work.parallel) {
    while (made < work.parallel && made - ready < AT_ONCE) begin(&streams[made]);
    turn(late, 100);
    if (now_us() > late) failed = "not everything was open in time";
  }
}

static void perform(void) {
  streams = calloc(work.parallel, sizeof *streams);
  double from = now_us();
  if (comes_and_goes()) {
    puts("begin");
    from = now_us();
    double until = from + work.seconds * SECOND, late = until + SILENCE_US;
    for (int at = 0; at < work.parallel; at++) begin(&streams[at]);
    run_until(until);
    while (!failed && open_now > 0) {
      turn(until, 100);
      if (now_us() > late) failed = "no end";
    }
  } else {
    open_all();
    double counted = work.seconds * SECOND, settle = counted < SETTLE_US ? counted : SETTLE_US;
    run_until(now_us() + (is("hold") || is("stall") ? 0 : settle));
    for (int at = 0; at < work.parallel; at++) streams[at].count = 0;
    counting = 1;
    if (!failed) puts("begin");
    from = now_us();
    run_until(from + work.seconds * SECOND);
  }
  double took = now_us() - from;
  for (int at = 0; at < work.parallel; at++)
    if (streams[at].fd > 0) close(streams[at].fd);
  report(took);
  free(streams);
}

int drive(void) {
  char line[256], address[64];
  int port;
  while (fgets(line, sizeof line, stdin)) {
    failed = NULL;
    made = open_now = ready = counting = 0;
    due_at = sampled = 0;
    if (sscanf(line, "%15s %63s %d %lf %d", work.kind, address, &port, &work.seconds, &work.parallel) != 5) die("a line");
    work.to = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(port)};
    if (inet_pton(AF_INET, address, &work.to.sin_addr) != 1) die(address);
    poller = epoll_create1(0);
    perform();
    close(poller);
  }
  return 0;
}
