/* What the service and the generator agree on. README.md says what each letter and each line means. */
#ifndef LOAD_H
#define LOAD_H

#include <stddef.h>
#include <stdint.h>

#define GREETING "SSH-2.0-bench\r\n"
#define GREETING_SIZE (sizeof GREETING - 1)
/* Of the letter R: so much is read, so much is answered. */
#define REQUEST_SIZE 128
#define ANSWER_SIZE 1024
#define PING_SIZE 64
#define CHUNK (256 * 1024)

/* CHUNK bytes that are written again and again. */
extern char bytes[CHUNK];
/* Where everything is read to: nobody looks at it. */
extern char sink[CHUNK];

double now_us(void);
void die(const char *what);
void prepare(int fd);
int serve(const char *address);
int drive(void);

#endif
